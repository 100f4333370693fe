<?php

declare(strict_types=1);

namespace App\Console\Commands;

use App\Console\LiveLine;
use App\Spot\Exchange;
use App\Spot\Input\Entry;
use App\Spot\Input\Input;
use App\Spot\Input\InputFactory;
use App\Spot\Input\RedisStream;
use App\Spot\Market;
use App\Spot\Worker\Counts;
use App\Spot\Worker\MarketEngine;
use App\Spot\Worker\Worker;
use App\Spot\Worker\WorkerSettings;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\DB;
use RuntimeException;
use Throwable;
use WriteBuffer\FlushResult;

/** The worker of one market: reads orders, matches, and writes through the buffer. */
final class ProcessOrders extends Command
{
    /** Refused entries that are shown; all are counted, and kept in spot_refusals. */
    private const REFUSALS_SHOWN = 5;

    protected $signature = 'spot:process-orders
        {file? : Order events of Bitstamp, CSV or CSV.gz}
        {--stream : Read the Redis stream of the market instead of a file}
        {--market= : The market, the first one of SPOT_MARKETS if it is not given}
        {--crossing : Shift half of the orders of the file through the spread, for many more matches}
        {--limit= : Stop after so many events}
        {--stop-when-idle= : Stop when the stream has had nothing new for so long, ms}
        {--take-over : Fence a worker that has the market now}
        {--journal=off : off, process, interval or always}
        {--journal-dir= : Directory of the journal; storage/app/journal when a journal is wanted}
        {--max-buffer=1000 : Rows in a batch}
        {--flush-interval=500 : Age of the oldest row at which it is written anyway, ms}
        {--max-pending=100000 : Rows in memory at most; adding waits beyond that}
        {--drain-timeout=60000 : How long to wait for the last rows, ms}
        {--acknowledge= : File that always names the last event and match that were buffered}';

    protected $description = 'Process the orders of one market through the write buffer';

    /** Signal that asked for the end. */
    private ?int $signal = null;

    private int $refusalsShown = 0;

    public function handle(Exchange $exchange, InputFactory $inputs): int
    {
        $this->trapSignals();

        try {
            $market = $exchange->market((string) ($this->option('market') ?? $exchange->defaultKey()));

            return $this->work($exchange, $market, $this->chooseInput($inputs, $market));
        } catch (Throwable $error) {
            // The innermost reason; the rows that were buffered drain as the process ends.
            $this->error($error::class . ': ' . $error->getMessage());

            return self::FAILURE;
        }
    }

    private function chooseInput(InputFactory $inputs, Market $market): Input
    {
        $file = $this->argument('file');

        if (($file === null) !== (bool) $this->option('stream')) {
            throw new RuntimeException('Give either a file or --stream.');
        }

        return $file === null ? $inputs->stream($market) : $inputs->file((string) $file, (bool) $this->option('crossing'));
    }

    private function work(Exchange $exchange, Market $market, Input $input): int
    {
        $settings = $this->settings();
        $engine = MarketEngine::start($exchange, $market, DB::connection(), $settings, $input->name(), $input->hasUniqueIds());

        if ($engine->greeting !== '') {
            $this->line($engine->greeting);
        }

        $rowsBefore = $engine->sequence();
        $started = hrtime(true);
        $worker = new Worker($engine, $input, $settings, fn (): bool => $this->signal !== null);
        $this->watch($worker, $engine, $started);
        $worker->run();
        $readS = (hrtime(true) - $started) / 1e9;

        if ($this->signal !== null) {
            $this->line(sprintf(
                'Stopped by signal %d after event %d; draining %d rows.',
                $this->signal,
                $engine->progress->events,
                $engine->buffer->count(),
            ));
        }

        $rowsAdded = $engine->sequence() - $rowsBefore;
        $pending = $engine->buffer->count();
        $drainStarted = hrtime(true);
        $result = $engine->drain();
        $drainS = (hrtime(true) - $drainStarted) / 1e9;
        $worker->finish();
        $engine->counts->redelivered = $input instanceof RedisStream ? $input->redelivered : 0;
        $this->summarize($engine, $result, $rowsAdded, $readS, $drainS, $pending);

        return $engine->close()->isSuccess() && $result->isSuccess() ? self::SUCCESS : self::FAILURE;
    }

    private function settings(): WorkerSettings
    {
        $journal = (string) $this->option('journal');
        $milliseconds = fn (string $option): ?int => $this->option($option) === null ? null : (int) $this->option($option);

        return new WorkerSettings(
            $journal,
            $this->option('journal-dir') ?? ($journal === 'off' ? null : storage_path('app/journal')),
            (int) $this->option('max-buffer'),
            (int) $this->option('flush-interval'),
            (int) $this->option('max-pending'),
            (int) $this->option('drain-timeout'),
            (int) config('spot.lease_ms'),
            $milliseconds('limit'),
            $milliseconds('stop-when-idle'),
            null,
            (bool) $this->option('take-over'),
        );
    }

    private function watch(Worker $worker, MarketEngine $engine, int $started): void
    {
        $acknowledged = $this->option('acknowledge') === null ? null : fopen((string) $this->option('acknowledge'), 'cb');
        $live = new LiveLine();

        $worker->afterEntry(function (Entry $entry, ?string $refusal) use ($acknowledged, $engine): void {
            if (is_resource($acknowledged)) {
                // One write of fixed width: whoever reads it after a kill finds whole numbers.
                fseek($acknowledged, 0);
                fwrite($acknowledged, sprintf("%012d %012d\n", $engine->progress->events, $engine->progress->matchId));
                fflush($acknowledged);
            }

            if ($refusal !== null && $this->refusalsShown < self::REFUSALS_SHOWN) {
                $this->refusalsShown++;
                $this->warn("Event {$engine->progress->events} is refused: {$refusal}"
                    . ($this->refusalsShown === self::REFUSALS_SHOWN ? ' (further ones are not shown)' : ''));
            }
        });
        $worker->afterLook(function () use ($engine, $live, $started): void {
            if ($live->isDue()) {
                $live->show($this->status($engine->counts, $engine->buffer->getStats(), (hrtime(true) - $started) / 1e9));
            }
        });
    }

    /** @param array<string, mixed> $stats */
    private function status(Counts $counts, array $stats, float $elapsedS): string
    {
        return sprintf(
            'events %d  matches %d  %.0f matches/s  pending %d  merged %.2f  last batch %d rows, %.1f ms',
            $counts->events,
            $counts->matches,
            $counts->matches / max($elapsedS, 1e-9),
            $stats['pending']['rows'] ?? $stats['buffer']['total'] ?? 0,
            $stats['merge_ratio'] ?? 0.0,
            $stats['batches']['last_rows'] ?? 0,
            $stats['batches']['last_ms'] ?? 0.0,
        );
    }

    private function summarize(
        MarketEngine $engine,
        FlushResult $result,
        int $rowsAdded,
        float $readS,
        float $drainS,
        int $pending,
    ): void {
        $counts = $engine->counts;
        $elapsedS = max($readS + $drainS, 1e-9);
        $this->line(sprintf(
            'Events %d (to number %d): placed %d, refused %d, reduced %d, cancelled %d, for final orders %d, without effect %d, '
                . 'for unknown ids %d, for orders of others %d, malformed %d, out of order %d, delivered again %d',
            $counts->events,
            $engine->progress->events,
            $counts->placed,
            $counts->refused,
            $counts->reduced,
            $counts->cancelled,
            $counts->late,
            $counts->unchanged,
            $counts->unknown,
            $counts->foreign,
            $counts->malformed,
            $counts->outOfOrder,
            $counts->redelivered,
        ));
        $this->line(sprintf('Matches %d (to number %d)', $counts->matches, $engine->progress->matchId));
        $this->line(sprintf(
            'Rows added %d, written %d (orders %d, trades %d, balances %d) in %d batches',
            $rowsAdded,
            $result->getTotalWritten(),
            $result->getOrdersWritten(),
            $result->getTradesWritten(),
            $result->getBalancesWritten(),
            $engine->buffer->getStats()['batches']['count'] ?? 0,
        ));
        $this->line(sprintf(
            'Processed in %.2f s, drained %d rows in %.2f s: %.0f events/s, %.0f matches/s',
            $readS,
            $pending,
            $drainS,
            $counts->events / $elapsedS,
            $counts->matches / $elapsedS,
        ));

        foreach ($result->getErrors() as $error) {
            $this->error("The drain failed: {$error}");
        }
    }

    /** Laravel 8 has no trap(): the handlers run between two statements, or while flush waits. */
    private function trapSignals(): void
    {
        pcntl_async_signals(true);

        foreach ([SIGTERM, SIGINT] as $signal) {
            pcntl_signal($signal, function (int $signal): void {
                $this->signal = $signal;
            });
        }
    }
}
