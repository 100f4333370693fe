<?php

declare(strict_types=1);

namespace App\Console\Commands;

use App\Jobs\ProcessOrder;
use App\Spot\Exchange;
use Illuminate\Console\Command;

final class QueueOrders extends Command
{
    protected $signature = 'spot:queue-orders
        {--market= : The market, all of SPOT_MARKETS if it is not given}
        {--run=30000 : A job queues itself again after so long, ms}
        {--once : It does not, and ends when its stream has had nothing new for a second}';

    protected $description = 'Queue the workers of the markets as jobs';

    public function handle(Exchange $exchange): int
    {
        $given = $this->option('market');
        $once = (bool) $this->option('once');

        foreach ($given === null ? $exchange->markets : [$exchange->market((string) $given)] as $market) {
            ProcessOrder::dispatch($market->key(), (int) $this->option('run'), $once ? 1_000 : null, !$once);
            $this->line("Queued ProcessOrder for {$market->key()}.");
        }

        return self::SUCCESS;
    }
}
