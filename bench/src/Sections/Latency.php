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
        $children = [];
        foreach (['off', 'process', 'interval', 'always'] as $journal) {
            $children["journal $journal"] = [
                static fn (): array => ['journal' => $journal, 'rate' => 5_000, 'seconds' => $run->size(10, 2)],
                fn (array $answers) => $this->add($figures, "journal $journal", $answers),
            ];
        }
        $run->rounds($this->name(), 'latency', $children);
    }

    /** @param non-empty-list<array<string, float>> $answers */
    private function add(Figures $figures, string $subject, array $answers): void
    {
        $rate = sprintf('%.0f of 5,000 matches/s reached', min(array_column($answers, 'rate')));
        foreach (['p50', 'p95', 'p99', 'p99.9', 'max'] as $quantile) {
            $figures->add(new Figure($this->name(), "$subject: $quantile", 'ms', array_column($answers, $quantile), $quantile === 'p50' ? $rate : ''));
        }
    }
}
