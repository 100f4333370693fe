<?php

declare(strict_types=1);

namespace WriteBuffer;

/**
 * What a buffer of orders, trades and balances can do. Supplied by the extension where it
 * is loaded, and then this file is never asked for.
 */
interface WriteBufferInterface
{
    /** @param array<string, mixed> $data columns beside the id */
    public function addOrder(int $orderId, array $data): void;

    /** @param array<string, mixed> $data */
    public function addTrade(array $data): void;

    /** @param array<string, mixed> $changes amounts to add as int or decimal string; other columns take the value */
    public function addBalanceUpdate(int $userId, string $currency, array $changes): void;

    public function flush(): FlushResult;

    public function shouldFlush(): bool;

    /** @return array<string, mixed> */
    public function getStats(): array;

    public function clear(): void;
}
