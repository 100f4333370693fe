<?php

declare(strict_types=1);

namespace App\Spot\Worker;

/** How a worker writes, and when it ends. Times in ms. */
final class WorkerSettings
{
    /**
     * @param string|null $journalDir also where refused rows are kept
     * @param int|null $entriesMax   ends after so many entries
     * @param int|null $idleMs       ends when no entry came for so long
     * @param int|null $runMs        ends after so long
     * @param bool $takeOver         fences another worker of the market
     */
    public function __construct(
        public readonly string $journal = 'off',
        public readonly ?string $journalDir = null,
        public readonly int $maxBufferSize = 1_000,
        public readonly int $flushIntervalMs = 500,
        public readonly int $maxPendingRows = 100_000,
        public readonly int $drainTimeoutMs = 60_000,
        public readonly int $leaseMs = 10_000,
        public readonly ?int $entriesMax = null,
        public readonly ?int $idleMs = null,
        public readonly ?int $runMs = null,
        public readonly bool $takeOver = false,
    ) {
    }

    /** The same, for a run that ends. */
    public function until(?int $idleMs, ?int $runMs): self
    {
        return new self(
            $this->journal,
            $this->journalDir,
            $this->maxBufferSize,
            $this->flushIntervalMs,
            $this->maxPendingRows,
            $this->drainTimeoutMs,
            $this->leaseMs,
            $this->entriesMax,
            $idleMs,
            $runMs,
            $this->takeOver,
        );
    }

    /** @return array<string, mixed> options of WriteBuffer::open() */
    public function bufferOptions(string $dsn): array
    {
        $options = [
            'dsn' => $dsn,
            'tables' => BufferSettings::TABLES,
            'journal' => $this->journal,
            'max_buffer_size' => $this->maxBufferSize,
            'flush_interval_ms' => $this->flushIntervalMs,
            'max_pending_rows' => $this->maxPendingRows,
            'drain_timeout_ms' => $this->drainTimeoutMs,
            // A replay is not in a hurry: at the bound it waits, as long as for the end.
            'block_timeout_ms' => $this->drainTimeoutMs,
        ];

        return $this->journalDir === null ? $options : $options + ['journal_dir' => $this->journalDir];
    }
}
