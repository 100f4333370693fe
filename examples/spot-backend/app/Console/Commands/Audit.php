<?php

declare(strict_types=1);

namespace App\Console\Commands;

use App\Spot\Audit\BooksAudit;
use App\Spot\Audit\Finding;
use App\Spot\Audit\PrefixAudit;
use App\Spot\Input\BitstampFile;
use App\Spot\Input\Pricing;
use App\Spot\Market;
use App\Spot\MarketLoader;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\DB;
use RuntimeException;

final class Audit extends Command
{
    protected $signature = 'spot:audit
        {file : The input that was processed}
        {--crossing : It was processed with --crossing}
        {--acknowledged-events=0 : Fail if fewer events than this are in the database}
        {--acknowledged-match=0 : Fail if the last match in the database is an earlier one}';

    protected $description = 'Check the six accounting statements, exactly';

    public function handle(Market $market): int
    {
        $started = hrtime(true);
        $database = DB::connection();

        try {
            $file = new BitstampFile((string) $this->argument('file'));
            $pricing = new Pricing((bool) $this->option('crossing'));

            // One snapshot for all statements, so that the audit can run beside the worker.
            $database->beginTransaction();
            $reached = (new MarketLoader($database, $market))->progress($file->name() . $pricing->suffix());
            $findings = (new BooksAudit($database, $market))->run($reached->matchId);
            $prefix = (new PrefixAudit($database, $market, $file, $pricing))->run($reached);
            $database->rollBack();
        } catch (RuntimeException $error) {
            $this->error($error->getMessage());

            return self::FAILURE;
        }

        foreach (['events' => $reached->events, 'match' => $reached->matchId] as $what => $found) {
            $acknowledged = (int) $this->option("acknowledged-{$what}");

            if ($found < $acknowledged) {
                $prefix->fail("{$what} {$acknowledged} was acknowledged, the database ends at {$found}");
            }
        }

        $findings[] = $prefix;
        array_walk($findings, $this->report(...));
        $failed = array_filter($findings, static fn (Finding $finding): bool => !$finding->isOk());
        $this->line(sprintf(
            'Audit: %d of 6 statements hold, %.1f s',
            count($findings) - count($failed),
            (hrtime(true) - $started) / 1e9,
        ));

        return $failed === [] ? self::SUCCESS : self::FAILURE;
    }

    private function report(Finding $finding): void
    {
        if ($finding->isOk()) {
            $this->line("{$finding->number} ok      {$finding->statement} ({$finding->seen})");

            return;
        }

        $this->line("{$finding->number} FAILED  {$finding->statement}: {$finding->failures} times");

        foreach ($finding->examples as $example) {
            $this->line("            {$example}");
        }
    }
}
