<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Sections;

use WriteBuffer\Bench\Figure;
use WriteBuffer\Bench\Figures;
use WriteBuffer\Bench\Run;

/** From the moment a match was due to its commit, at a rate that does not wait for answers. */
final class Latency implements Section
{
    public function name(): string
    {
        return 'latency';
    }

    public function measure(Run $run, Figures $figures): void
    {
        foreach (['off', 'process', 'interval', 'always'] as $journal) {
            $spec = ['journal' => $journal, 'rate' => 5_000, 'seconds' => $run->size(20, 4)];
            $answers = $run->children("journal $journal, 5,000 matches/s", 'latency', $spec);
            foreach (['p50', 'p95', 'p99', 'p99.9', 'max'] as $quantile) {
                $figures->add(new Figure($this->name(), "journal $journal: $quantile", 'ms', array_map(static fn (array $answer): float => $answer[$quantile], $answers), sprintf('%.0f matches/s reached', $answers[0]['rate'])));
            }
        }
    }
}
