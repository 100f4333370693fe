<?php

declare(strict_types=1);

namespace WriteBuffer;

use Countable;
use Illuminate\Database\ConnectionInterface;
use PDO;
use WriteBuffer\Exception\ClosedException;
use WriteBuffer\Exception\TransactionException;
use WriteBuffer\Sync\Database;
use WriteBuffer\Sync\Declarations;
use WriteBuffer\Sync\Statements;
use WriteBuffer\Sync\WithoutWriter;

/**
 * A buffer that holds nothing: each row is written at once, through the application's own
 * connection and so inside its transaction. What the database refuses is thrown to the
 * caller. Amounts are added exactly, as the native buffer does.
 */
final class SyncWriteBuffer implements WriteBufferInterface, Countable
{
    use WithoutWriter;

    private readonly Database $database;
    private readonly Statements $statements;
    private readonly Declarations $tables;
    /** @var array<string, int> rows written, by declared table */
    private array $written;
    /** @var array<string, int> as above when the last flush returned */
    private array $reported;
    /** @var array<string, int>|null as above when the open group began */
    private ?array $before = null;
    private bool $closed = false;
    private int $flushes = 0;
    private float $writeMs = 0.0;
    private float $writeMsTotal = 0.0;

    /** @param array<mixed> $tables as options['tables'] of the native buffer */
    public function __construct(ConnectionInterface|PDO $connection, array $tables = [])
    {
        $this->database = new Database($connection);
        $this->statements = new Statements($this->database);
        $this->tables = new Declarations($tables);
        $this->written = $this->reported = array_map(static fn (): int => 0, $this->tables->all());
    }

    /**
     * @param array<mixed> $row
     * @return int how many rows were written
     */
    public function add(string $table, array $row): int
    {
        $declaration = $this->tables->table($table);
        $checked = $declaration->row($row);
        return $this->write($table, fn () => $this->statements->write($declaration, $checked));
    }

    /** @param int|string|array<mixed> $key */
    public function delete(string $table, int|string|array $key): int
    {
        $row = $this->tables->table($table)->named($key);
        return $this->write($table, fn () => $this->statements->delete($row));
    }

    /** A transaction of the connection, or a savepoint in the one that is open. */
    public function beginTransaction(): void
    {
        $this->assertOpen();
        if ($this->before !== null) {
            throw new TransactionException('A transaction is open already; they do not nest. commit() or rollBack() it first.');
        }
        $this->database->begin();
        $this->before = $this->written;
    }

    public function commit(): int
    {
        $this->assertInTransaction();
        $this->database->commit();
        $this->before = null;
        return $this->sequence();
    }

    public function rollBack(): void
    {
        $this->written = $this->assertInTransaction();
        $this->before = null;
        $this->database->rollBack();
    }

    /**
     * Nothing is ever pending.
     *
     * @param int|string|array<mixed> $key
     */
    public function find(string $table, int|string|array $key): ?array
    {
        $this->tables->table($table)->named($key);
        return null;
    }

    public function count(): int
    {
        return 0;
    }

    public function sequence(): int
    {
        return array_sum($this->written);
    }

    public function committedSequence(): int
    {
        return $this->sequence();
    }

    public function waitFor(int $sequence, ?int $timeoutMs = null): bool
    {
        return $sequence <= $this->sequence();
    }

    /** Reports what was written since the last call: nothing is ever left to write. */
    public function flush(?int $timeoutMs = null): FlushResult
    {
        $since = fn (string $table): int => $this->written[$table] - $this->reported[$table];
        $result = new FlushResult($since('orders'), $since('trades'), $since('balances'), $this->writeMs);
        if ($this->written !== $this->reported) {
            $this->flushes++;
            $this->writeMsTotal += $this->writeMs;
        }
        $this->reported = $this->written;
        $this->writeMs = 0.0;
        return $result;
    }

    public function close(?int $timeoutMs = null): FlushResult
    {
        if ($this->before !== null) {
            $this->rollBack();
        }
        $this->closed = true;
        return $this->flush();
    }

    /** What the database refuses is thrown, so there is nothing to tell. */
    public function dispatch(): int
    {
        return 0;
    }

    public function getStats(): array
    {
        return $this->stats($this->written, [], $this->flushes, $this->writeMsTotal);
    }

    /** Nothing is pending, so nothing is discarded. */
    public function clear(): void
    {
    }

    private function write(string $table, callable $write): int
    {
        $this->assertOpen();
        $start = hrtime(true);
        $write();
        $this->writeMs += (hrtime(true) - $start) / 1e6;
        $this->written[$table]++;
        return $this->sequence();
    }

    private function assertOpen(): void
    {
        if ($this->closed) {
            throw new ClosedException('The buffer is closed; make another one.');
        }
    }

    /** @return array<string, int> the counts when the transaction began */
    private function assertInTransaction(): array
    {
        return $this->before ?? throw new TransactionException('No transaction is open; beginTransaction() first.');
    }
}
