<?php

declare(strict_types=1);

namespace WriteBuffer\Sync;

use WriteBuffer\Exception\TransactionException;

/**
 * What buffers have in common that have no writer in the background: time makes no difference to them.
 */
trait WithoutWriter
{
    use OrdersTradesBalances;

    public function transaction(callable $callback): mixed
    {
        $this->beginTransaction();
        try {
            $result = $callback($this);
        } catch (\Throwable $error) {
            try {
                $this->rollBack();
            } catch (TransactionException) {
                // The callback has ended it itself.
            }
            throw $error;
        }
        $this->commit();
        return $result;
    }

    public function shouldFlush(): bool
    {
        return false;
    }

    public function getTimeSinceLastFlush(): float
    {
        return 0.0;
    }

    /** Nothing depends on it. */
    public function setLastFlushTime(float $timeMs): void
    {
    }

    /**
     * What the native buffer has and one without a writer can say.
     *
     * @param array<string, int> $accepted rows by declared table
     * @param array<string, int> $pending those of them that no flush has reported
     * @return array<string, mixed>
     */
    private function stats(array $accepted, array $pending, int $flushes, float $flushMs): array
    {
        $tables = [];
        foreach ($accepted as $table => $rows) {
            $waiting = $pending[$table] ?? 0;
            $tables[$table] = [
                'accepted' => $rows, 'pending' => $waiting, 'pending_merged' => $waiting, 'written' => $rows - $waiting, 'committed' => $rows - $waiting,
            ];
        }
        $waiting = array_sum($pending);
        return [
            'buffer' => [
                'orders' => $tables['orders']['pending'],
                'trades' => $tables['trades']['pending'],
                'balances' => $tables['balances']['pending'],
                'total' => $waiting,
            ],
            'config' => ['max_buffer_size' => 1, 'flush_interval_ms' => 0, 'max_retries' => 0],
            'totals' => [
                'orders_written' => $tables['orders']['written'],
                'trades_written' => $tables['trades']['written'],
                'balances_written' => $tables['balances']['written'],
                'flushes' => $flushes,
                'avg_flush_duration_ms' => $flushes === 0 ? 0.0 : $flushMs / $flushes,
            ],
            'tables' => $tables,
            'pending' => ['rows' => $waiting, 'merged' => $waiting, 'bytes' => 0, 'oldest_ms' => 0.0],
            'sequence' => $this->sequence(),
            'committed_sequence' => $this->committedSequence(),
            'quarantined' => 0,
            'failures' => 0,
            'last_error' => null,
        ];
    }
}
