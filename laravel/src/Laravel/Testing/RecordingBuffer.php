<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Testing;

use Countable;
use WriteBuffer\Exception\InvalidRowException;
use WriteBuffer\Exception\TransactionException;
use WriteBuffer\FlushResult;
use WriteBuffer\Sync\Decimal;
use WriteBuffer\Sync\Declarations;
use WriteBuffer\WriteBufferInterface;

/**
 * A buffer that checks rows as the others do, and only keeps them. A flush "commits" them.
 */
final class RecordingBuffer implements WriteBufferInterface, Countable
{
    /** @var list<RecordedRow> */
    private array $rows = [];
    /** @var list<RecordedRow>|null of the open transaction */
    private ?array $group = null;
    private int $flushed = 0;
    private int $flushes = 0;

    public function __construct(private readonly Declarations $tables)
    {
    }

    /** @return list<RecordedRow> in order, those of rolled back transactions not */
    public function recorded(): array
    {
        return $this->rows;
    }

    public function flushes(): int
    {
        return $this->flushes;
    }

    /**
     * @param array<string, mixed> $row
     * @throws InvalidRowException
     */
    public function add(string $table, array $row): int
    {
        return $this->record(new RecordedRow($table, $row, $this->tables->table($table)->row($row)));
    }

    /** @param int|string|array<string, mixed> $key */
    public function delete(string $table, int|string|array $key): int
    {
        $named = $this->tables->table($table)->named($key);
        return $this->record(new RecordedRow($table, $named->key, $named, isDelete: true));
    }

    public function addOrder(int $orderId, array $data): void
    {
        $this->add('orders', ['id' => $orderId] + $data);
    }

    public function addTrade(array $data): void
    {
        $this->add('trades', $data);
    }

    public function addBalanceUpdate(int $userId, string $currency, array $changes): void
    {
        $this->add('balances', ['user_id' => $userId, 'currency' => $currency] + $changes);
    }

    public function beginTransaction(): void
    {
        if ($this->group !== null) {
            throw new TransactionException('A transaction is open already; they do not nest. commit() or rollBack() it first.');
        }
        $this->group = [];
    }

    public function commit(): int
    {
        $this->rows = [...$this->rows, ...$this->openGroup()];
        $this->group = null;
        return count($this->rows);
    }

    public function rollBack(): void
    {
        $this->openGroup();
        $this->group = null;
    }

    public function transaction(callable $callback): mixed
    {
        $this->beginTransaction();
        try {
            $result = $callback($this);
        } catch (\Throwable $error) {
            $this->group = null;
            throw $error;
        }
        $this->commit();
        return $result;
    }

    /** @param int|string|array<string, mixed> $key */
    public function find(string $table, int|string|array $key): ?array
    {
        $declaration = $this->tables->table($table);
        $identity = $declaration->named($key)->identity();
        $found = null;
        foreach ([...$this->pending(), ...($this->group ?? [])] as $recorded) {
            if ($recorded->table !== $table || $recorded->checked->identity() !== $identity) {
                continue;
            }
            if ($recorded->isDelete) {
                $found = [];
                continue;
            }
            $fields = array_flip($declaration->identity());
            foreach ($recorded->checked->columns() as $column => $value) {
                $isSum = isset($recorded->checked->deltas[$column]);
                $found[$fields[$column] ?? $column] = $isSum ? Decimal::sum($found[$column] ?? '0', (string) $value) : $value;
            }
        }
        return $found;
    }

    public function count(): int
    {
        return count($this->pending());
    }

    public function sequence(): int
    {
        return count($this->rows) + count($this->group ?? []);
    }

    public function committedSequence(): int
    {
        return $this->flushed;
    }

    public function waitFor(int $sequence, ?int $timeoutMs = null): bool
    {
        if ($sequence > count($this->rows)) {
            return false;
        }
        $this->flushed = max($this->flushed, $sequence);
        return true;
    }

    public function flush(?int $timeoutMs = null): FlushResult
    {
        $written = array_count_values(array_map(static fn (RecordedRow $row): string => $row->table, $this->pending()));
        $this->flushed = count($this->rows);
        $this->flushes++;
        return new FlushResult($written['orders'] ?? 0, $written['trades'] ?? 0, $written['balances'] ?? 0);
    }

    public function close(?int $timeoutMs = null): FlushResult
    {
        $this->group = null;
        return $this->flush($timeoutMs);
    }

    public function shouldFlush(): bool
    {
        return false;
    }

    public function getTimeSinceLastFlush(): float
    {
        return 0.0;
    }

    /** Nothing depends on it here. */
    public function setLastFlushTime(float $timeMs): void
    {
    }

    public function getStats(): array
    {
        return [
            'buffer' => ['orders' => 0, 'trades' => 0, 'balances' => 0, 'total' => $this->count()],
            'config' => ['max_buffer_size' => 0, 'flush_interval_ms' => 0, 'max_retries' => 0],
            'totals' => ['orders_written' => 0, 'trades_written' => 0, 'balances_written' => 0, 'flushes' => $this->flushes, 'avg_flush_duration_ms' => 0.0],
        ];
    }

    public function clear(): void
    {
        $this->rows = array_slice($this->rows, 0, $this->flushed);
        $this->group = $this->group === null ? null : [];
    }

    /** @return list<RecordedRow> */
    private function pending(): array
    {
        return array_slice($this->rows, $this->flushed);
    }

    private function record(RecordedRow $row): int
    {
        if ($this->group !== null) {
            $this->group[] = $row;
        } else {
            $this->rows[] = $row;
        }
        return $this->sequence();
    }

    /** @return list<RecordedRow> */
    private function openGroup(): array
    {
        return $this->group ?? throw new TransactionException('No transaction is open; beginTransaction() first.');
    }
}
