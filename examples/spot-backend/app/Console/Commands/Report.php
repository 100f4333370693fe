<?php

declare(strict_types=1);

namespace App\Console\Commands;

use App\Spot\Exchange;
use App\Spot\Market;
use App\Spot\Report\MarketReport;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\DB;
use InvalidArgumentException;

final class Report extends Command
{
    protected $signature = 'spot:report
        {--market= : One market instead of all}
        {--top=10 : How many accounts, by turnover}
        {--json : For programs}';

    protected $description = 'Report fills, volumes and top accounts of each market';

    public function handle(Exchange $exchange): int
    {
        try {
            $markets = $this->option('market') === null ? array_values($exchange->markets) : [$exchange->market((string) $this->option('market'))];
        } catch (InvalidArgumentException $error) {
            $this->error($error->getMessage());

            return self::FAILURE;
        }

        // One snapshot, so that the sums agree with each other beside running workers.
        $reports = DB::transaction(fn (): array => array_map(
            fn (Market $market): array => (new MarketReport(DB::connection(), $market))->run((int) $this->option('top')),
            $markets,
        ));

        if ($this->option('json')) {
            $this->line((string) json_encode($reports, JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE));
        } else {
            array_walk($reports, $this->show(...));
        }

        return self::SUCCESS;
    }

    /** @param array<string, mixed> $report */
    private function show(array $report): void
    {
        $worker = $report['worker'];
        $this->line("== {$report['market']}: " . ($worker === null ? 'never worked' : "{$worker['input']} up to event {$worker['events']}, "
            . ($worker['owner'] === null ? 'no worker' : "worked by {$worker['owner']}") . ", epoch {$worker['epoch']}"));
        $this->table(['trades', 'volume', 'turnover', 'fees of buyers', 'fees of sellers', 'first', 'last', 'high', 'low'], [[
            $report['trades'],
            "{$report['volume']} {$report['coin']}",
            "{$report['turnover']} {$report['currency']}",
            "{$report['buy_fees']} {$report['coin']}",
            "{$report['sell_fees']} {$report['currency']}",
            $report['first_price'],
            $report['last_price'],
            $report['high'],
            $report['low'],
        ]]);

        if ($report['orders'] !== []) {
            $this->table(array_map(static fn (string $status): string => "orders {$status}", array_keys($report['orders'])), [$report['orders']]);
        }

        if ($report['top_accounts'] !== []) {
            $this->table(['user', 'trades', 'turnover'], $report['top_accounts']);
        }

        $this->line("Refused entries: {$report['refusals']['count']}");

        foreach ($report['refusals']['last'] as $refusal) {
            $this->line("  event {$refusal['event']}: {$refusal['reason']}");
        }
    }
}
