<?php

declare(strict_types=1);

namespace App\Spot\Worker;

/**
 * How far the input has been consumed, and by whom.
 *
 * It is written in every atomic group, by market and epoch. A worker that was fenced has an
 * epoch that is no longer in the database, so each of its groups is refused as a whole.
 *
 * The group that places an order already counts its event; the groups of its matches follow.
 * A crash between them leaves a crossed book with the newest order as the taker, and a
 * restart goes on matching it before it reads the next event.
 */
final class Progress
{
    /**
     * @param int $events   consumed so far
     * @param string $position of the last one in the input, where its number does not say it
     * @param int $matchId  the last match
     * @param int $steps    atomic groups so far
     */
    public function __construct(
        public readonly string $market,
        public readonly string $input,
        public readonly int $epoch,
        public int $events = 0,
        public string $position = '',
        public int $matchId = 0,
        public int $steps = 0,
    ) {
    }
}
