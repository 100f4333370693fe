<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Sections;

use WriteBuffer\Bench\Figure;
use WriteBuffer\Bench\Figures;
use WriteBuffer\Bench\Run;

/** What pending rows take, and whether a long run takes more and more. */
final class Memory implements Section
{
    public function name(): string
    {
        return 'memory';
    }

    public function measure(Run $run, Figures $figures): void
    {
        $rows = $run->size(1_000_000, 200_000);
        $run->attempt($this->name(), 'a pending row', function () use ($run, $figures, $rows): void {
            $pending = $run->children(number_format($rows) . ' pending rows', 'memory', ['what' => 'pending', 'rows' => $rows]);
            $figures->add(new Figure($this->name(), 'a pending row', 'bytes', array_column($pending, 'bytes'), '9 columns; its segments, its merged form, and whatever else grew'));
            $figures->add(new Figure($this->name(), 'raw bytes of a row', 'bytes', array_column($pending, 'raw'), 'its values alone, integers as 8 bytes'));
        });
        if ($run->isQuick) {
            $figures->miss($this->name(), 'RSS after 10,000,000 matches', 'not measured: it takes minutes, and --quick does not');

            return;
        }
        $run->attempt($this->name(), 'RSS after 10,000,000 matches', function () use ($run, $figures): void {
            $long = $run->children('10,000,000 matches', 'memory', ['what' => 'long', 'matches' => 10_000_000], min($run->runs, 3));
            $figures->add(new Figure($this->name(), 'RSS after 1,000,000 matches', 'KiB', array_column($long, 'first'), 'journal process'));
            $figures->add(new Figure($this->name(), 'RSS after 10,000,000 matches', 'KiB', array_column($long, 'last'), 'journal process'));
        });
    }
}
