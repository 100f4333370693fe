<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Sections;

use WriteBuffer\Bench\Figure;
use WriteBuffer\Bench\Figures;
use WriteBuffer\Bench\Run;

/** How long the next process takes for what a killed one left. */
final class Recovery implements Section
{
    public function name(): string
    {
        return 'recovery';
    }

    public function measure(Run $run, Figures $figures): void
    {
        $rows = $run->size(1_000_000, 50_000);
        $answers = $run->children('a journal of ' . number_format($rows) . ' rows', 'recovery', ['rows' => $rows], min($run->runs, 3));
        $figures->add(new Figure($this->name(), 'rows a second', 'rows/s', array_map(static fn (array $a): float => $rows / $a['seconds'], $answers), number_format($rows) . ' rows of trades'));
        $figures->add(new Figure($this->name(), 'journal', 'MiB', array_column($answers, 'mib')));
    }
}
