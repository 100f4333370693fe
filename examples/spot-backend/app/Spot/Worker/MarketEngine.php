<?php

declare(strict_types=1);

namespace App\Spot\Worker;

use App\Spot\Clock;
use App\Spot\Exchange;
use App\Spot\Funds\MarketFunds;
use App\Spot\Funds\SharedFunds;
use App\Spot\Input\Entry;
use App\Spot\Market;
use App\Spot\Matching\OrderBook;
use App\Spot\Orders\Order;
use App\Spot\Orders\OrderService;
use App\Spot\Storage\BufferStore;
use Illuminate\Database\Connection;
use RuntimeException;
use WriteBuffer;
use WriteBuffer\FlushResult;

/**
 * One market at work in this process: its buffer, its lease, its book and its funds.
 */
final class MarketEngine
{
    private readonly OrderBook $book;
    private readonly BufferStore $store;
    private readonly OrderService $orders;
    private readonly ?Intake $intake;
    private readonly CommandProcessor $processor;
    private int $beatNs = 0;

    public readonly Progress $progress;
    public readonly Counts $counts;

    /** What is to be said about the start. */
    public readonly string $greeting;

    private function __construct(
        public readonly Market $market,
        public readonly WriteBuffer $buffer,
        private readonly Lease $lease,
        private readonly WorkerSettings $settings,
        Connection $database,
        Exchange $exchange,
        bool $hasUniqueIds,
        int $refusedOfFormer,
    ) {
        $loader = new MarketLoader($database, $market);
        $this->progress = $loader->progress();
        $shared = array_values(array_filter($market->currencies(), $exchange->isShared(...)));
        $sharedFunds = new SharedFunds($market, $shared, $database, $buffer, $lease);
        $funds = new MarketFunds($market, $loader->funds(array_values(array_diff($market->currencies(), $shared))), $sharedFunds, $shared);
        $this->book = new OrderBook();
        $this->store = new BufferStore($buffer, $database);
        $this->orders = new OrderService($market, $this->store, $this->book, $funds, $this->progress);
        $this->intake = $hasUniqueIds && $shared === [] ? null : new Intake($market, $buffer, $database, $sharedFunds);
        $this->processor = new CommandProcessor($this->orders, $this->progress, $this->intake);
        $this->counts = $this->processor->counts;
        $this->greeting = $this->resume($loader->openOrders(), $refusedOfFormer);
    }

    public static function start(
        Exchange $exchange,
        Market $market,
        Connection $database,
        WorkerSettings $settings,
        string $input,
        bool $hasUniqueIds,
    ): self {
        if (!class_exists(WriteBuffer::class, false)) {
            throw new RuntimeException('The extension write_buffer is not loaded: run php -d extension=/path/to/libwrite_buffer.so artisan …');
        }

        /** @var array<string, mixed> $connection */
        $connection = $database->getConfig();
        $options = $settings->bufferOptions(BufferSettings::dsn($connection));
        $lease = Lease::of($database, $market, $input, $settings->leaseMs, $settings->takeOver);
        $refused = $lease->formerBuffer === null ? 0 : self::writeFormer($lease->formerBuffer, $options, $settings->drainTimeoutMs);
        $buffer = WriteBuffer::open($lease->take(), $options);

        return new self($market, $buffer, $lease, $settings, $database, $exchange, $hasUniqueIds, $refused);
    }

    /**
     * What a dead worker left in its journal, or one of this process in its buffer, comes first:
     * only then is the database the truth.
     *
     * @param array<string, mixed> $options
     * @return int rows that the database refused
     */
    private static function writeFormer(string $name, array $options, int $timeoutMs): int
    {
        $former = WriteBuffer::open($name, $options);
        $written = $former->flush($timeoutMs);

        if ($written->getPending() > 0 || !$written->isSuccess() && $written->getQuarantined() === 0) {
            throw new RuntimeException('Taking over the journal failed: ' . implode('; ', $written->getErrors()));
        }

        $former->close($timeoutMs);

        return $written->getQuarantined();
    }

    /** @param list<Entry> $entries that are applied next */
    public function prepare(array $entries): void
    {
        $this->intake?->prepare($entries);
    }

    /** @return string|null why it was refused, if it was */
    public function apply(Entry $entry): ?string
    {
        return $this->processor->apply($entry);
    }

    /** Sequence number of the last row that the engine has added. */
    public function sequence(): int
    {
        return $this->store->sequence();
    }

    /** Says that this worker is alive, several times in a lease. */
    public function beat(): void
    {
        $nowNs = hrtime(true);

        if ($nowNs - $this->beatNs > $this->settings->leaseMs * 250_000) {
            $this->beatNs = $nowNs;
            $this->store->beat($this->progress, Clock::nowMs());
        }
    }

    /**
     * How far everything is in the database for good.
     *
     * A quarantined group is missing in the database while the book goes on as if it were there:
     * that ends the worker. The groups of a worker that was fenced end like this, too.
     */
    public function committedSequence(): int
    {
        // In this order: a group that is refused after the first line is not below its number.
        $committed = $this->buffer->committedSequence();
        $stats = $this->buffer->getStats();
        $refused = (int) $stats['quarantined'];

        if ($refused > 0) {
            throw new RuntimeException("The database refused {$refused} rows for good: " . ($stats['last_error'] ?? 'see the quarantine'));
        }

        return $committed;
    }

    public function drain(): FlushResult
    {
        return $this->buffer->flush($this->settings->drainTimeoutMs);
    }

    /** Ends the writer; the market is free for the next worker if all was written. */
    public function close(): FlushResult
    {
        $result = $this->buffer->close($this->settings->drainTimeoutMs);

        if ($result->isSuccess()) {
            $this->lease->release();
        }

        return $result;
    }

    /** @param list<Order> $open */
    private function resume(array $open, int $refusedOfFormer): string
    {
        $newest = end($open);
        $taker = $newest !== false && $newest->event === $this->progress->events ? array_pop($open) : null;
        array_walk($open, $this->book->rest(...));
        $this->counts->matches += $taker === null ? 0 : $this->orders->match($taker);

        $greeting = $this->progress->events === 0 ? '' : "Resuming after event {$this->progress->events}, match {$this->progress->matchId}: "
            . (count($open) + (int) ($taker !== null)) . ' open orders.';

        // The market goes on without them: its state and the place in its input are the database's.
        return $refusedOfFormer === 0
            ? $greeting
            : trim("{$greeting} {$refusedOfFormer} rows that the worker before had left were refused: they are in the quarantine.");
    }
}
