<?php

declare(strict_types=1);

namespace App\Spot\Orders;

use App\Spot\Market;

/**
 * 0.1 % of what the party receives, rounded down to 10 decimals: the buyer pays in the coin,
 * the seller in the currency, maker and taker alike.
 */
final class Fees
{
    /** One part in so many. */
    private const FRACTION = 1_000;

    /** @param int $quantity in 1e-8; @return int in 1e-10 of the coin */
    public function ofBuyer(int $quantity): int
    {
        return intdiv($quantity * Market::AMOUNT_PER_QUANTITY, self::FRACTION);
    }

    /** @param int $notional in 1e-9; @return int in 1e-10 of the currency */
    public function ofSeller(int $notional): int
    {
        return intdiv($notional * Market::AMOUNT_PER_NOTIONAL, self::FRACTION);
    }
}
