<?php

declare(strict_types=1);

namespace App\Console\Commands;

use App\Console\LiveLine;
use App\Spot\BufferSettings;
use App\Spot\EventCounts;
use App\Spot\EventProcessor;
use App\Spot\Input\BitstampFile;
use App\Spot\Input\Pricing;
use App\Spot\Input\UserHash;
use App\Spot\Market;
use App\Spot\MarketLoader;
use App\Spot\Matching\OrderBook;
use App\Spot\OrderService;
use App\Spot\Progress;
use App\Spot\Storage\BufferStore;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\DB;
use RuntimeException;
use Throwable;
use WriteBuffer;
use WriteBuffer\FlushResult;

/** The worker of one market: reads events, matches, and writes through the buffer only. */
final class ProcessOrders extends Command
{
    /** Events between two looks at the clock. */
    private const EVENTS_PER_LOOK = 256;

    protected $signature = 'spot:process-orders
        {file : Order events of Bitstamp, CSV or CSV.gz}
        {--crossing : Shift half of the orders through the spread, for many more matches}
        {--limit= : Stop after so many events}
        {--buffer=spot : Name of the buffer}
        {--journal=off : off, process, interval or always}
        {--journal-dir= : Directory of the journal; storage/app/journal when a journal is wanted}
        {--max-buffer=1000 : Rows in a batch}
        {--flush-interval=500 : Age of the oldest row at which it is written anyway, ms}
        {--max-pending=100000 : Rows in memory at most; adding waits beyond that}
        {--drain-timeout=60000 : How long to wait for the last rows, ms}
        {--acknowledge= : File that always names the last event and match that were buffered}';

    protected $description = 'Process order events through the write buffer';

    /** Signal that asked for the end. */
    private ?int $signal = null;

    public function handle(Market $market): int
    {
        if (!class_exists(WriteBuffer::class, false)) {
            $this->error('The extension write_buffer is not loaded: run php -d extension=/path/to/libwrite_buffer.so artisan …');

            return self::FAILURE;
        }

        $this->trapSignals();

        try {
            return $this->work($market);
        } catch (Throwable $error) {
            // The innermost reason; the rows that were buffered drain as the process ends.
            $this->error($error::class . ': ' . $error->getMessage());

            return self::FAILURE;
        }
    }

    private function work(Market $market): int
    {
        $database = DB::connection();
        $file = new BitstampFile((string) $this->argument('file'));
        $pricing = new Pricing((bool) $this->option('crossing'));
        $buffer = $this->openBuffer($database->getConfig());

        // What a dead worker left in its journal comes first: only then is the database the truth.
        $this->drained($buffer->flush((int) $this->option('drain-timeout')), 'taking over the journal');

        $loader = new MarketLoader($database, $market);
        $progress = $loader->progress($file->name() . $pricing->suffix());
        $book = new OrderBook();
        $orders = new OrderService($market, new BufferStore($buffer, $database), $book, $loader->funds(), $progress);
        $processor = new EventProcessor($orders, $progress, new UserHash($market->users), $pricing);

        $rowsBefore = $buffer->sequence();
        $started = hrtime(true);
        $processor->counts->matches += $this->resume($loader, $book, $orders, $progress);
        $this->consume($buffer, $processor, $progress, $file, $started);
        $readS = (hrtime(true) - $started) / 1e9;

        if ($this->signal !== null) {
            $this->line(sprintf(
                'Stopped by signal %d after event %d; draining %d rows.',
                $this->signal,
                $progress->events,
                $buffer->count(),
            ));
        }

        $rowsAdded = $buffer->sequence() - $rowsBefore;
        $pending = $buffer->count();
        $drainStarted = hrtime(true);
        $result = $buffer->flush((int) $this->option('drain-timeout'));
        $drainS = (hrtime(true) - $drainStarted) / 1e9;

        $this->summarize($processor->counts, $progress, $buffer->getStats(), $result, $rowsAdded, $readS, $drainS, $pending);

        // Nothing is left to write now, unless the flush ran out of time: then close() gets no more of it.
        $closed = $buffer->close($result->isSuccess() ? (int) $this->option('drain-timeout') : 1);

        return $result->isSuccess() && $closed->isSuccess() ? self::SUCCESS : self::FAILURE;
    }

    /** @param array<string, mixed> $connection */
    private function openBuffer(array $connection): WriteBuffer
    {
        $journal = (string) $this->option('journal');
        $options = [
            'dsn' => BufferSettings::dsn($connection),
            'tables' => BufferSettings::TABLES,
            'journal' => $journal,
            'max_buffer_size' => (int) $this->option('max-buffer'),
            'flush_interval_ms' => (int) $this->option('flush-interval'),
            'max_pending_rows' => (int) $this->option('max-pending'),
            'drain_timeout_ms' => (int) $this->option('drain-timeout'),
            // A replay is not in a hurry: at the bound it waits, as long as for the end.
            'block_timeout_ms' => (int) $this->option('drain-timeout'),
        ];
        $directory = $this->option('journal-dir') ?? ($journal === 'off' ? null : storage_path('app/journal'));

        if ($directory !== null) {
            $options['journal_dir'] = (string) $directory;
        }

        return WriteBuffer::open((string) $this->option('buffer'), $options);
    }

    /** @return int matches that were still owed to the newest order */
    private function resume(MarketLoader $loader, OrderBook $book, OrderService $orders, Progress $progress): int
    {
        $open = $loader->openOrders();
        $newest = end($open);
        $taker = $newest !== false && $newest->event === $progress->events ? array_pop($open) : null;
        array_walk($open, $book->rest(...));

        if ($progress->events > 0) {
            $this->line("Resuming after event {$progress->events}, match {$progress->matchId}: " . (count($open) + (int) ($taker !== null)) . ' open orders.');
        }

        return $taker === null ? 0 : $orders->match($taker);
    }

    private function consume(WriteBuffer $buffer, EventProcessor $processor, Progress $progress, BitstampFile $file, int $started): void
    {
        $limit = $this->option('limit') === null ? PHP_INT_MAX : (int) $this->option('limit');
        $acknowledged = $this->option('acknowledge') === null ? null : fopen((string) $this->option('acknowledge'), 'cb');
        $live = new LiveLine();

        foreach ($file->events($progress->events) as $number => $event) {
            if ($this->signal !== null || $processor->counts->events >= $limit) {
                break;
            }

            $processor->apply($number, $event);

            if (is_resource($acknowledged)) {
                // One write of fixed width: whoever reads it after a kill finds whole numbers.
                fseek($acknowledged, 0);
                fwrite($acknowledged, sprintf("%012d %012d\n", $progress->events, $progress->matchId));
                fflush($acknowledged);
            }

            if ($number % self::EVENTS_PER_LOOK === 0 && $live->isDue()) {
                $stats = $buffer->getStats();
                $live->show($this->status($processor->counts, $stats, (hrtime(true) - $started) / 1e9));
                $this->stopIfRowsWereRefused($stats);
            }
        }

        $live->end();
    }

    /** @param array<string, mixed> $stats */
    private function status(EventCounts $counts, array $stats, float $elapsedS): string
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

    /**
     * A quarantined group is missing in the database while the book goes on as if it were
     * there: better to stop at once.
     *
     * @param array<string, mixed> $stats
     */
    private function stopIfRowsWereRefused(array $stats): void
    {
        $rows = (int) ($stats['quarantined'] ?? 0);

        if ($rows > 0) {
            throw new RuntimeException("The database refused {$rows} rows for good: " . ($stats['last_error'] ?? 'see the quarantine'));
        }
    }

    private function drained(FlushResult $result, string $what): void
    {
        if (!$result->isSuccess()) {
            throw new RuntimeException("{$what} failed: " . implode('; ', $result->getErrors()));
        }
    }

    /** @param array<string, mixed> $stats */
    private function summarize(
        EventCounts $counts,
        Progress $progress,
        array $stats,
        FlushResult $result,
        int $rowsAdded,
        float $readS,
        float $drainS,
        int $pending,
    ): void {
        $elapsedS = max($readS + $drainS, 1e-9);
        $this->line(sprintf(
            'Events %d (to number %d): placed %d, refused %d, reduced %d, cancelled %d, for final orders %d, without effect %d, '
                . 'for unknown ids %d, out of order %d',
            $counts->events,
            $progress->events,
            $counts->placed,
            $counts->refused,
            $counts->reduced,
            $counts->cancelled,
            $counts->late,
            $counts->unchanged,
            $counts->unknown,
            $counts->outOfOrder,
        ));
        $this->line(sprintf('Matches %d (to number %d)', $counts->matches, $progress->matchId));
        $this->line(sprintf(
            'Rows added %d, written %d (orders %d, trades %d, balances %d) in %d batches',
            $rowsAdded,
            $result->getTotalWritten(),
            $result->getOrdersWritten(),
            $result->getTradesWritten(),
            $result->getBalancesWritten(),
            $stats['batches']['count'] ?? 0,
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
