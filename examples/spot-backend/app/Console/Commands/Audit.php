<?php

declare(strict_types=1);

namespace App\Console\Commands;

use App\Spot\Audit\BooksAudit;
use App\Spot\Audit\Finding;
use App\Spot\Audit\PrefixAudit;
use App\Spot\Exchange;
use App\Spot\Input\Input;
use App\Spot\Input\InputFactory;
use App\Spot\Worker\Engines;
use App\Spot\Worker\MarketLoader;
use App\Spot\Worker\Progress;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\DB;
use InvalidArgumentException;
use RedisException;
use RuntimeException;

final class Audit extends Command
{
    protected $signature = 'spot:audit
        {files?* : The file that was processed, as MARKET=FILE for another market than the first; streams are found by themselves}
        {--crossing : Files were processed with --crossing}
        {--acknowledged-events=0 : Fail if fewer events of the first market than this are in the database}
        {--acknowledged-match=0 : Fail if the last match of the first market in the database is an earlier one}';

    protected $description = 'Check the six accounting statements, exactly';

    public function handle(Exchange $exchange, InputFactory $inputs): int
    {
        $started = hrtime(true);
        $database = DB::connection();

        try {
            $files = $this->files($exchange, $inputs);

            // One snapshot for all statements, so that the audit can run beside the workers.
            $database->beginTransaction();
            $reached = array_map(static fn (string $key): Progress => (new MarketLoader($database, $exchange->market($key)))->progress(), $this->worked());
            $reached = array_combine(array_map(static fn (Progress $progress): string => $progress->market, $reached), $reached);
            $findings = (new BooksAudit($database, $exchange))->run(array_map(static fn (Progress $progress): int => $progress->matchId, $reached));
            $findings[] = $prefix = $this->isReplayable($reached)
                ? (new PrefixAudit($database, $exchange))->run($reached, $this->inputs($exchange, $inputs, $files, $reached))
                : null;
            $database->rollBack();
        } catch (InvalidArgumentException | RuntimeException | RedisException $error) {
            $this->error(($error instanceof RedisException ? 'The streams cannot be read from Redis: ' : '') . $error->getMessage());

            return self::FAILURE;
        }

        if ($prefix !== null) {
            $this->compareAcknowledged($prefix, $reached[$exchange->defaultKey()] ?? null);
        }

        $findings = array_values(array_filter($findings));
        array_walk($findings, $this->report(...));
        $failed = array_filter($findings, static fn (Finding $finding): bool => !$finding->isOk());
        $this->line(sprintf(
            'Audit: %d of %d statements hold, %.1f s',
            count($findings) - count($failed),
            count($findings),
            (hrtime(true) - $started) / 1e9,
        ));

        return $failed === [] ? self::SUCCESS : self::FAILURE;
    }

    /** @return array<string, Input> by market */
    private function files(Exchange $exchange, InputFactory $inputs): array
    {
        $files = [];

        foreach ((array) $this->argument('files') as $argument) {
            [$market, $file] = preg_match('/^([a-z]+_[a-z]+)=(.+)$/D', (string) $argument, $part) === 1
                ? [$part[1], $part[2]]
                : [$exchange->defaultKey(), (string) $argument];
            $files[$exchange->market($market)->key()] = $inputs->file($file, (bool) $this->option('crossing'));
        }

        return $files;
    }

    /** @return list<string> the markets that a worker has had */
    private function worked(): array
    {
        return DB::table('spot_progress')->orderBy('market')->pluck('market')->all();
    }

    /**
     * What came over HTTP into the process that works the market is kept nowhere.
     *
     * @param array<string, Progress> $reached
     */
    private function isReplayable(array $reached): bool
    {
        foreach ($reached as $progress) {
            if ($progress->input === Engines::INPUT) {
                $this->line("6 not checked: the input of {$progress->market} is not kept");

                return false;
            }
        }

        return true;
    }

    /**
     * @param array<string, Input> $files
     * @param array<string, Progress> $reached
     * @return array<string, Input>
     */
    private function inputs(Exchange $exchange, InputFactory $inputs, array $files, array $reached): array
    {
        foreach ($reached as $key => $progress) {
            if (str_starts_with($progress->input, 'redis ')) {
                $files[$key] = $inputs->history($exchange->market($key));
            }

            $given = isset($files[$key]) ? $files[$key]->name() : 'nothing';

            if ($given !== $progress->input) {
                throw new RuntimeException("{$key} was worked from {$progress->input}, and {$given} is given to audit it with.");
            }
        }

        return $files;
    }

    private function compareAcknowledged(Finding $prefix, ?Progress $reached): void
    {
        foreach (['events' => $reached?->events, 'match' => $reached?->matchId] as $what => $found) {
            $acknowledged = (int) $this->option("acknowledged-{$what}");

            if ((int) $found < $acknowledged) {
                $prefix->fail("{$what} {$acknowledged} was acknowledged, the database ends at " . (int) $found);
            }
        }
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
