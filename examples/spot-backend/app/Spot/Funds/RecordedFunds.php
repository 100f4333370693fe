<?php

declare(strict_types=1);

namespace App\Spot\Funds;

use App\Spot\Decimal;
use App\Spot\Market;
use App\Spot\Matching\OrderBook;
use App\Spot\Orders\Order;
use App\Spot\Orders\OrderStatus;

/**
 * For a replay: what funds were reserved in shared accounts depended on what other markets did
 * at that moment, so the decision is taken from the order that it made.
 */
final class RecordedFunds implements Funds
{
    /** @param array<string, array{string, string|null}> $decisions status and budget by Order::key() */
    public function __construct(
        private readonly int $users,
        private readonly array $decisions,
    ) {
    }

    public function hasAccounts(int $userId): bool
    {
        return $userId >= 1 && $userId <= $this->users;
    }

    public function lock(Order $order, OrderBook $book): Lock
    {
        [$status, $budget] = $this->decisions[Order::key($order->id)] ?? [OrderStatus::Pending->value, null];
        $order->budget = $budget === null ? 0 : Decimal::parse($budget, Market::AMOUNT_SCALE);

        return $status === OrderStatus::Removed->value ? Lock::Refused : Lock::InStep;
    }

    public function credit(int $userId, string $currency, int $amount): void
    {
    }
}
