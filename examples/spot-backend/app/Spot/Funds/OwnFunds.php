<?php

declare(strict_types=1);

namespace App\Spot\Funds;

use App\Spot\Decimal;
use App\Spot\Market;
use App\Spot\Matching\OrderBook;
use App\Spot\Orders\Order;

/**
 * Accounts that one market writes alone, in 1e-10.
 *
 * Its worker keeps them from start to end, so they are never behind what is buffered: they are
 * loaded from the database once, with nothing pending.
 */
final class OwnFunds implements Funds
{
    /** @var array<string, array<int, int>> currency => user id => amount */
    private array $amounts = [];

    public function __construct(private readonly Market $market)
    {
    }

    /** @param array<int, int> $amounts by user id */
    public function load(string $currency, array $amounts): void
    {
        $this->amounts[$currency] = $amounts;
    }

    public function hasAccounts(int $userId): bool
    {
        foreach ($this->amounts as $amounts) {
            if (!isset($amounts[$userId])) {
                return false;
            }
        }

        return true;
    }

    public function lock(Order $order, OrderBook $book): Lock
    {
        $currency = $this->market->paidIn($order->side);
        $available = $this->amounts[$currency][$order->userId];

        if ($order->isMarketBuy()) {
            $order->budget = $book->cost($order, $available);
        }

        $lock = $order->lock();

        if ($lock > $available) {
            return Lock::Refused;
        }

        $this->amounts[$currency][$order->userId] = $available - $lock;

        return Lock::InStep;
    }

    public function credit(int $userId, string $currency, int $amount): void
    {
        if (isset($this->amounts[$currency])) {
            $this->amounts[$currency][$userId] = Decimal::sum($this->amounts[$currency][$userId], $amount);
        }
    }
}
