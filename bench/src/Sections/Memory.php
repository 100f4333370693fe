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
        $pending = $run->children(number_format($rows) . ' pending rows', 'memory', ['what' => 'pending', 'rows' => $rows]);
        $figures->add(new Figure($this->name(), 'a pending row', 'bytes', array_column($pending, 'bytes')));
        $figures->add(new Figure($this->name(), 'raw bytes of a row', 'bytes', array_column($pending, 'raw')));
        $matches = $run->size(10_000_000, 100_000);
        $long = $run->children(number_format($matches) . ' matches', 'memory', ['what' => 'long', 'matches' => $matches], [], 1);
        $figures->add(new Figure($this->name(), 'RSS after a tenth', 'KiB', array_column($long, 'first')));
        $figures->add(new Figure($this->name(), 'RSS after all matches', 'KiB', array_column($long, 'last'), number_format($matches) . ' matches'));
    }
}
