<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel;

use Countable;
use Illuminate\Container\Container;
use WriteBuffer;
use WriteBuffer\Exception\BufferFullException;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Exception\TransactionException;
use WriteBuffer\FlushResult;
use WriteBuffer\Laravel\Exceptions\RowsNotWritten;
use WriteBuffer\Laravel\Testing\RecordingBuffer;
use WriteBuffer\Sync\OrdersTradesBalances;
use WriteBuffer\SyncWriteBuffer;
use WriteBuffer\WriteBufferInterface;

/**
 * A buffer of the application: the native one, the one that writes at once, or the fake.
 *
 * It adds what Laravel wants to know: events, reports, and that the connection's records
 * were modified once a flush is confirmed. The methods are those of the extension's class.
 */
final class Buffer implements WriteBufferInterface, Countable
{
    use OrdersTradesBalances;

    private bool $closed = false;
    private int $settled;
    /** Null: of the fake nothing is heard. */
    private readonly ?Watch $watch;

    public function __construct(
        public readonly string $name,
        private readonly WriteBuffer|SyncWriteBuffer|RecordingBuffer $inner,
        private readonly ?string $connection = null,
    ) {
        $this->settled = $inner->committedSequence();
        $this->watch = match (true) {
            $inner instanceof WriteBuffer => Watch::ofProcess($name),
            $inner instanceof SyncWriteBuffer => new Watch($name),
            default => null,
        };
    }

    /**
     * The extension's own object, for loops in which a call more or less counts. Drains
     * concern its rows all the same; BufferFull is not dispatched for it.
     *
     * @throws ConfigurationException where the native buffer is not in use
     */
    public function native(): WriteBuffer
    {
        return $this->inner instanceof WriteBuffer ? $this->inner : throw new ConfigurationException(
            "Buffer \"$this->name\" is no native one here, but " . $this->inner::class . ': ask for native() only outside of tests.'
        );
    }

    /** @param array<string, mixed> $row */
    public function add(string $table, array $row): int
    {
        try {
            return $this->inner->add($table, $row);
        } catch (BufferFullException $full) {
            throw $this->full($full);
        }
    }

    /** @param int|string|array<string, mixed> $key */
    public function delete(string $table, int|string|array $key): int
    {
        try {
            return $this->inner->delete($table, $key);
        } catch (BufferFullException $full) {
            throw $this->full($full);
        }
    }

    public function beginTransaction(): void
    {
        $this->inner->beginTransaction();
    }

    public function commit(): int
    {
        try {
            return $this->inner->commit();
        } catch (BufferFullException $full) {
            throw $this->full($full);
        }
    }

    public function rollBack(): void
    {
        $this->inner->rollBack();
    }

    /**
     * @template T
     * @param callable(Buffer): T $callback
     * @return T
     */
    public function transaction(callable $callback): mixed
    {
        try {
            return $this->inner->transaction(fn (): mixed => $callback($this));
        } catch (BufferFullException $full) {
            throw $this->full($full);
        }
    }

    /**
     * @param int|string|array<string, mixed> $key
     * @return array<string, mixed>|null what the database does not have yet of a row
     */
    public function find(string $table, int|string|array $key): ?array
    {
        return $this->inner->find($table, $key);
    }

    public function count(): int
    {
        return $this->inner->count();
    }

    public function sequence(): int
    {
        return $this->inner->sequence();
    }

    public function committedSequence(): int
    {
        return $this->inner->committedSequence();
    }

    public function waitFor(int $sequence, ?int $timeoutMs = null): bool
    {
        $settled = $this->inner->waitFor($sequence, $timeoutMs);
        $this->markConnection();
        return $settled;
    }

    public function flush(?int $timeoutMs = null): FlushResult
    {
        return $this->seen($this->inner->flush($timeoutMs));
    }

    public function close(?int $timeoutMs = null): FlushResult
    {
        $this->closed = true;
        $result = $this->seen($this->inner->close($timeoutMs));
        $this->watch?->forget();
        return $result;
    }

    /** Tells `on_quarantine`, where the buffer was given one; the event RowsQuarantined needs no such call. */
    public function dispatch(): int
    {
        return $this->inner->dispatch();
    }

    /** Whoever asks for the buffer of that name from now on is given a new one. */
    public function isClosed(): bool
    {
        return $this->closed;
    }

    public function shouldFlush(): bool
    {
        return $this->inner->shouldFlush();
    }

    public function getTimeSinceLastFlush(): float
    {
        return $this->inner->getTimeSinceLastFlush();
    }

    public function setLastFlushTime(float $timeMs): void
    {
        $this->inner->setLastFlushTime($timeMs);
    }

    public function getStats(): array
    {
        return $this->inner->getStats();
    }

    public function clear(): void
    {
        $this->inner->clear();
    }

    /** Asks for everything pending to be written, and waits for nothing. */
    public function nudge(): void
    {
        if ($this->inner->count() > 0) {
            $this->inner->waitFor($this->inner->sequence(), 0);
        }
    }

    /**
     * At the end of a job, a request or the process: what is pending is written, and what
     * went wrong since the last look is reported.
     *
     * @param int $timeoutMs in ms; 0 only looks
     */
    public function drain(int $timeoutMs): void
    {
        if ($timeoutMs > 0 && $this->inner->count() > 0) {
            $this->flush($timeoutMs);
        } else {
            $this->watch?->look($this->getStats());
        }
    }

    /** A group that nobody can commit any more must not become part of the next job. */
    public function rollBackForgotten(string $at): void
    {
        try {
            $this->inner->rollBack();
        } catch (TransactionException) {
            // As it should be: none is open.
            return;
        }
        Watch::report(RowsNotWritten::rolledBack($this->name, $at));
    }

    private function seen(FlushResult $result): FlushResult
    {
        $this->watch?->look($this->getStats(), $result);
        $this->markConnection();
        return $result;
    }

    /** With `sticky`, later reads of this request go where the rows were written to. */
    private function markConnection(): void
    {
        $settled = $this->inner->committedSequence();
        if ($this->connection !== null && $settled > $this->settled) {
            Container::getInstance()->make('db')->connection($this->connection)->recordsHaveBeenModified();
        }
        $this->settled = $settled;
    }

    private function full(BufferFullException $full): BufferFullException
    {
        $this->watch?->isFull($full);
        return $full;
    }
}
