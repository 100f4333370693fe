<?php

declare(strict_types=1);

namespace App\Spot\Orders;

use App\Spot\Clock;
use App\Spot\Market;

/**
 * Ids for orders that are placed here: the time in ms, 16 random bits, the number of the market.
 *
 * Should two of the same millisecond be equal, the market refuses the second order.
 */
final class OrderIds
{
    private const EPOCH_MS = 1_767_225_600_000;
    private const RANDOM_MAX = 0xFFFF;

    public function next(Market $market): int
    {
        $elapsedMs = Clock::nowMs() - self::EPOCH_MS;

        return (($elapsedMs * (self::RANDOM_MAX + 1)) + random_int(0, self::RANDOM_MAX)) * Market::NUMBERS + $market->number;
    }
}
