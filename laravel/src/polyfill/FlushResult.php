<?php

declare(strict_types=1);

namespace WriteBuffer;

/**
 * What a flush did. Supplied by the extension where it is loaded.
 */
final class FlushResult
{
    /** @param list<string> $errors */
    public function __construct(
        private readonly int $ordersWritten = 0,
        private readonly int $tradesWritten = 0,
        private readonly int $balancesWritten = 0,
        private readonly float $durationMs = 0.0,
        private readonly array $errors = [],
    ) {
    }

    public static function empty(): FlushResult
    {
        return new self();
    }

    public static function failed(string $error): FlushResult
    {
        return new self(errors: [$error]);
    }

    public function getOrdersWritten(): int
    {
        return $this->ordersWritten;
    }

    public function getTradesWritten(): int
    {
        return $this->tradesWritten;
    }

    public function getBalancesWritten(): int
    {
        return $this->balancesWritten;
    }

    public function getTotalWritten(): int
    {
        return $this->ordersWritten + $this->tradesWritten + $this->balancesWritten;
    }

    public function getDurationMs(): float
    {
        return $this->durationMs;
    }

    /** @return list<string> */
    public function getErrors(): array
    {
        return $this->errors;
    }

    public function isSuccess(): bool
    {
        return $this->errors === [];
    }

    /** @return array<string, mixed> */
    public function toArray(): array
    {
        return [
            'orders_written' => $this->ordersWritten,
            'trades_written' => $this->tradesWritten,
            'balances_written' => $this->balancesWritten,
            'total_written' => $this->getTotalWritten(),
            'duration_ms' => $this->durationMs,
            'errors' => $this->errors,
            'success' => $this->isSuccess(),
            'quarantined' => 0,
            'pending' => 0,
            'sequence' => 0,
        ];
    }

    public function getQuarantined(): int
    {
        return 0;
    }

    public function getPending(): int
    {
        return 0;
    }

    public function getSequence(): int
    {
        return 0;
    }
}
