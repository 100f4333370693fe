<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Sections;

use WriteBuffer\Bench\Figures;
use WriteBuffer\Bench\Run;

/** Figures that belong together. */
interface Section
{
    /** As `--only` names it. */
    public function name(): string;

    public function measure(Run $run, Figures $figures): void;
}
