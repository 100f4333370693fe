<?php

declare(strict_types=1);

namespace WriteBuffer\Sync;

/**
 * The three calls of the spot backend, as rows of the predeclared tables.
 */
trait OrdersTradesBalances
{
    /** @param array<string, mixed> $row */
    abstract public function add(string $table, array $row): int;

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
}
