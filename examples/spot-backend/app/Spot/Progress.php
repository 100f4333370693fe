<?php

declare(strict_types=1);

namespace App\Spot;

/**
 * How far the input has been consumed.
 *
 * The group that places an order already counts its event; the groups of its matches follow.
 * A crash between them leaves a crossed book with the newest order as the taker, and a
 * restart goes on matching it before it reads the next event.
 */
final class Progress
{
    public function __construct(
        public readonly string $market,
        public readonly string $input,
        public int $events = 0,
        public int $matchId = 0,
    ) {
    }

    /** @return array{market: string, input: string, events: int, match_id: int, updated_at: int} */
    public function row(int $atMs): array
    {
        return [
            'market' => $this->market,
            'input' => $this->input,
            'events' => $this->events,
            'match_id' => $this->matchId,
            'updated_at' => $atMs,
        ];
    }
}
