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
    /** @var array<string, array<string, int|string|null>> by "#id": ids of an exchange fall into few buckets as integers */
    public array $orders = [];
    /** @var array<string, array<int, array<string, int|string>>> */
    public array $balances = [];

    public function __construct(Flow $flow)
    {
        foreach ($flow->orders() as $order) {
            $this->orders["#{$order['id']}"] = $order + ['executed_quantity' => '0', 'executed_price' => '0', 'fee' => '0'];
        }
        foreach ($flow->users() as $user) {
            $this->balances['usd'][$user] = $this->balances['btc'][$user]
                = ['id' => $user, 'balance' => '1000000000', 'available_balance' => '1000000000', 'usd_amount' => '0', 'updated_at' => 0];
        }
    }

    /** @param array<string, int|string|null> $columns */
    public function order(int $id, array $columns): void
    {
        $this->orders["#$id"] = isset($columns['user_id']) ? ['id' => $id] + $columns : array_merge($this->orders["#$id"], $columns);
    }

    /** @param array<string, int|string> $changes */
    public function balance(int $user, string $currency, array $changes): void
    {
        $account = &$this->balances[$currency][$user];
        foreach ($changes as $column => $change) {
            $account[$column] = is_int($change) ? $change : bcadd($account[$column], $change, 10);
        }
    }
}
