<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Orders\Side;

/**
 * At which price an order of the input is placed.
 *
 * As recorded, or, to make the flow cross more often, with a fixed half of the orders shifted
 * through the spread: an order whose id hashes (CRC-32 of its decimal digits) to an even number
 * is placed 0.2 % better for the other side, a bid higher, an ask lower, rounded down to 0.1 USD.
 * It depends on nothing but id, side and price, so every replay shifts the same orders.
 */
final class Pricing
{
    private const SHIFT_PER_MILLE = 2;

    public function __construct(private readonly bool $crossing)
    {
    }

    /** Added to the input's name, so that the progress of the two kinds is never mixed up. */
    public function suffix(): string
    {
        return $this->crossing ? '+crossing' : '';
    }

    /** @param int $price in 0.1 USD; @return int likewise */
    public function priceOf(int $orderId, Side $side, int $price): int
    {
        if (!$this->crossing || (crc32((string) $orderId) & 1) === 1) {
            return $price;
        }

        $perMille = $side === Side::Buy ? 1_000 + self::SHIFT_PER_MILLE : 1_000 - self::SHIFT_PER_MILLE;

        return intdiv($price * $perMille, 1_000);
    }
}
