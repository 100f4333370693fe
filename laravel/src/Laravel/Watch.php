<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel;

use Illuminate\Container\Container;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Events\Dispatcher;
use WriteBuffer\Exception\BufferFullException;
use WriteBuffer\FlushResult;
use WriteBuffer\Laravel\Events\BatchCommitted;
use WriteBuffer\Laravel\Events\BatchFailed;
use WriteBuffer\Laravel\Events\BufferFull;
use WriteBuffer\Laravel\Events\RowsQuarantined;
use WriteBuffer\Laravel\Exceptions\RowsNotWritten;

/**
 * Compares a buffer's figures with those of the last look, and makes events and reports of
 * what is new. The writer calls nobody back, so this is how the application hears of it.
 */
final class Watch
{
    /** The same failure again is reported once in this time. */
    private const REPEAT_S = 60;

    private int $committed = 0;
    private int $quarantined = 0;
    private int $failures = 0;
    private string $reported = '';
    private float $reportedAt = 0.0;

    private int $pid;

    /** @var array<string, self> of named buffers, which outlive the request and its objects */
    private static array $ofProcess = [];

    public function __construct(private readonly string $buffer)
    {
        $this->pid = (int) getmypid();
    }

    /** What a native buffer's writer did between two requests is news for the second. */
    public static function ofProcess(string $buffer): self
    {
        return self::$ofProcess[$buffer] ??= new self($buffer);
    }

    /** The buffer is closed; the next one of that name counts anew. */
    public function forget(): void
    {
        unset(self::$ofProcess[$this->buffer]);
    }

    /**
     * @param array<string, mixed> $stats of getStats()
     * @param FlushResult|null $result of the flush before
     */
    public function look(array $stats, ?FlushResult $result = null): void
    {
        [$committed, $quarantined, $failures] = self::counters($stats);
        if ($this->pid !== getmypid()) {
            // A forked child's buffer is a fresh one, whose figures may be those of its parent by chance.
            [$this->pid, $this->committed, $this->quarantined, $this->failures] = [(int) getmypid(), 0, 0, 0];
        }
        $pending = (int) ($result?->getPending() ?? $stats['pending']['rows'] ?? 0);
        if ($committed > $this->committed) {
            $this->dispatch(new BatchCommitted($this->buffer, $committed - $this->committed));
        }
        $refused = $quarantined - $this->quarantined;
        if ($refused > 0) {
            $reasons = $result?->getErrors() ?? array_filter([$stats['last_error'] ?? null]);
            $this->dispatch(new RowsQuarantined($this->buffer, $refused, $reasons));
            self::report(RowsNotWritten::quarantined($this->buffer, $refused, $reasons));
        }
        $isIncomplete = $result !== null && !$result->isSuccess() && ($pending > 0 || $refused <= 0);
        if ($failures > $this->failures || $isIncomplete) {
            $error = implode(' ', $result?->getErrors() ?: [$stats['last_error'] ?? 'A batch could not be written.']);
            $this->dispatch(new BatchFailed($this->buffer, $error, $pending));
            $this->reportOnce(RowsNotWritten::pending($this->buffer, $error));
        }
        [$this->committed, $this->quarantined, $this->failures] = [$committed, $quarantined, $failures];
    }

    public function isFull(BufferFullException $exception): void
    {
        $this->dispatch(new BufferFull($this->buffer, $exception));
    }

    /** To the application's exception handler; it never throws, so that work goes on. */
    public static function report(\Throwable $error): void
    {
        try {
            Container::getInstance()->make(ExceptionHandler::class)->report($error);
        } catch (\Throwable $failure) {
            error_log("{$error->getMessage()} This could not be reported: {$failure->getMessage()}");
        }
    }

    private function reportOnce(RowsNotWritten $error): void
    {
        // Numbers of rows and milliseconds change from one attempt to the next.
        $what = (string) preg_replace('/\d+/', '', $error->getMessage());
        $now = hrtime(true) / 1e9;
        if ($what !== $this->reported || $now - $this->reportedAt >= self::REPEAT_S) {
            [$this->reported, $this->reportedAt] = [$what, $now];
            self::report($error);
        }
    }

    /** A listener's exception is its own: the rows are as they are. */
    private function dispatch(object $event): void
    {
        try {
            Container::getInstance()->make(Dispatcher::class)->dispatch($event);
        } catch (\Throwable $error) {
            self::report($error);
        }
    }

    /**
     * @param array<string, mixed> $stats
     * @return array{int, int, int} rows committed, rows quarantined, failures
     */
    private static function counters(array $stats): array
    {
        $committed = array_sum(array_column($stats['tables'] ?? [], 'committed'));
        return [(int) $committed, (int) ($stats['quarantined'] ?? 0), (int) ($stats['failures'] ?? 0)];
    }
}
