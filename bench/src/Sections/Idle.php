<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Sections;

use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Figure;
use WriteBuffer\Bench\Figures;
use WriteBuffer\Bench\Flow\Synthetic;
use WriteBuffer\Bench\Run;

/** What the extension costs who does not use it, and a buffer that has nothing to do. */
final class Idle implements Section
{
    public function name(): string
    {
        return 'idle';
    }

    public function measure(Run $run, Figures $figures): void
    {
        Database::prepare(new Synthetic(10));
        $idle = $run->children('an idle buffer', 'idle', ['seconds' => $run->size(10, 3)]);
        $figures->add(new Figure($this->name(), 'wake-ups', '1/s', array_column($idle, 'wakeups'), 'context switches of all its threads'));
        $figures->add(new Figure($this->name(), 'CPU', 'ms/s', array_column($idle, 'cpu_ms'), 'of the whole process'));
        $figures->add(new Figure($this->name(), 'the first add', 'µs', array_column($idle, 'first_us'), 'the buffer made and the writer started'));
        $start = $run->children("php -r ''", 'start-up', ['rounds' => $run->size(100, 40)]);
        $figures->add(new Figure($this->name(), "php -r '' without", 'ms', array_column($start, 'without')));
        $figures->add(new Figure($this->name(), "php -r '' with", 'ms', array_column($start, 'with')));
    }
}
