<?php

declare(strict_types=1);

namespace App\Console;

use App\Console\Commands\Audit;
use App\Console\Commands\MigrateAndSeed;
use App\Console\Commands\ProcessOrders;
use App\Console\Commands\QueueOrders;
use App\Console\Commands\Report;
use Illuminate\Foundation\Console\Kernel as ConsoleKernel;

final class Kernel extends ConsoleKernel
{
    /** @var list<class-string> */
    protected $commands = [
        Audit::class,
        MigrateAndSeed::class,
        ProcessOrders::class,
        QueueOrders::class,
        Report::class,
    ];
}
