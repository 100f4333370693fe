<?php

declare(strict_types=1);

namespace App\Spot;

/** Time of day. What is computed from orders has the orders' own times. */
final class Clock
{
    /** @return int in ms since 1970 */
    public static function nowMs(): int
    {
        ['sec' => $seconds, 'usec' => $microseconds] = gettimeofday();

        return $seconds * 1_000 + intdiv($microseconds, 1_000);
    }
}
