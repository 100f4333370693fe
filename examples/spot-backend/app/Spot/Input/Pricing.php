<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Side;

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

    /** @return int in 0.1 USD */
    public function priceOf(OrderEvent $event): int
    {
        if (!$this->crossing || (crc32((string) $event->orderId) & 1) === 1) {
            return $event->price;
        }

        $perMille = $event->side === Side::Buy ? 1_000 + self::SHIFT_PER_MILLE : 1_000 - self::SHIFT_PER_MILLE;

        return intdiv($event->price * $perMille, 1_000);
    }
}
