<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use WriteBuffer\Bench\Flow\Flow;

/**
 * The application's own memory of orders and balances: who upserts must know all columns,
 * and who writes absolute balances must know what they were.
 */
final class Books
{
    /** @var array<int, array<string, int|string>> */
    public array $orders = [];
    /** @var array<string, array<int, array{id: int, balance: string, available_balance: string}>> */
    public array $balances = [];

    public function __construct(Flow $flow)
    {
        foreach ($flow->orders() as $order) {
            $this->orders[$order['id']] = $order + ['executed_quantity' => '0', 'executed_price' => '0', 'fee' => '0'];
        }
        foreach ($flow->users() as $user) {
            $this->balances['usd'][$user] = $this->balances['btc'][$user] = ['id' => $user, 'balance' => '1000000000', 'available_balance' => '1000000000'];
        }
    }

    /** @param array<string, int|string> $columns */
    public function order(int $id, array $columns): void
    {
        $this->orders[$id] = array_merge($this->orders[$id] ?? ['id' => $id, 'executed_quantity' => '0', 'executed_price' => '0', 'fee' => '0'], $columns);
    }

    /** @param array<string, string> $amounts */
    public function balance(int $user, string $currency, array $amounts): void
    {
        $account = &$this->balances[$currency][$user];
        foreach ($amounts as $column => $amount) {
            $account[$column] = bcadd($account[$column], $amount, 10);
        }
    }
}
