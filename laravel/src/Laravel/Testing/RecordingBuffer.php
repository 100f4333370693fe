<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Testing;

use Countable;
use WriteBuffer\Exception\InvalidRowException;
use WriteBuffer\Exception\TransactionException;
use WriteBuffer\FlushResult;
use WriteBuffer\Sync\Decimal;
use WriteBuffer\Sync\Declarations;
use WriteBuffer\Sync\WithoutWriter;
use WriteBuffer\WriteBufferInterface;

/**
 * A buffer that checks rows as the others do, and only keeps them. A flush "commits" them.
 */
final class RecordingBuffer implements WriteBufferInterface, Countable
{
    use WithoutWriter;

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
        $written = self::counted($this->pending());
        $this->flushed = count($this->rows);
        $this->flushes++;
        return new FlushResult($written['orders'] ?? 0, $written['trades'] ?? 0, $written['balances'] ?? 0);
    }

    public function close(?int $timeoutMs = null): FlushResult
    {
        $this->group = null;
        return $this->flush($timeoutMs);
    }

    public function dispatch(): int
    {
        return 0;
    }

    public function getStats(): array
    {
        $none = array_map(static fn (): int => 0, $this->tables->all());
        return $this->stats(self::counted($this->rows) + $none, self::counted($this->pending()), $this->flushes, 0.0);
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

    /**
     * @param list<RecordedRow> $rows
     * @return array<string, int> by declared table
     */
    private static function counted(array $rows): array
    {
        return array_count_values(array_map(static fn (RecordedRow $row): string => $row->table, $rows));
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
