<?php

declare(strict_types=1);

namespace App\Spot\Gateway;

use App\Spot\Clock;
use App\Spot\Input\StreamEntry;
use App\Spot\Market;
use App\Spot\Worker\Engines;
use Throwable;

/** To the engine in this process, at once. The process has to be the market's only worker. */
final class DirectGateway implements OrderGateway
{
    public function __construct(private readonly Engines $engines)
    {
    }

    public function submit(Market $market, array $fields): Receipt
    {
        $entry = StreamEntry::parse($market, Clock::nowMs() . '-0', $fields);
        $engine = $this->engines->of($market);

        try {
            $engine->prepare([$entry]);
            $refusal = $engine->apply($entry);
            $engine->beat();
            $engine->committedSequence();
        } catch (Throwable $error) {
            // Its book may be ahead of the database: the next request starts from there.
            $this->engines->forget($market);

            throw $error;
        }

        return $refusal === null ? Receipt::applied() : Receipt::refused($refusal);
    }
}
