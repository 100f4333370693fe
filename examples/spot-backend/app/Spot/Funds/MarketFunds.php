<?php

declare(strict_types=1);

namespace App\Spot\Funds;

use App\Spot\Market;
use App\Spot\Matching\OrderBook;
use App\Spot\Orders\Order;

/** A market's own accounts in memory, those that it shares with other markets in the database. */
final class MarketFunds implements Funds
{
    /** @param list<string> $sharedCurrencies */
    public function __construct(
        private readonly Market $market,
        private readonly OwnFunds $own,
        private readonly Funds $shared,
        private readonly array $sharedCurrencies,
    ) {
    }

    public function hasAccounts(int $userId): bool
    {
        return $this->own->hasAccounts($userId) && $this->shared->hasAccounts($userId);
    }

    public function lock(Order $order, OrderBook $book): Lock
    {
        $isShared = in_array($this->market->paidIn($order->side), $this->sharedCurrencies, true);

        return $isShared ? $this->shared->lock($order, $book) : $this->own->lock($order, $book);
    }

    public function credit(int $userId, string $currency, int $amount): void
    {
        $this->own->credit($userId, $currency, $amount);
    }
}
