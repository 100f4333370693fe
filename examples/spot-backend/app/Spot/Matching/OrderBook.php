<?php

declare(strict_types=1);

namespace App\Spot\Matching;

use App\Spot\Decimal;
use App\Spot\Orders\Order;
use App\Spot\Orders\Side;
use LogicException;
use SplHeap;
use SplMaxHeap;
use SplMinHeap;

/**
 * Price-time priority, pure and in memory.
 *
 * A price level is a PHP array by order id: arrays keep the order of insertion, which is the
 * order of time. Each side has a heap of its prices. A level that becomes empty leaves its
 * price in the heap until it surfaces; a price stands in a heap at most once.
 */
final class OrderBook
{
    /** @var array<string, Order> by Order::key() */
    private array $orders = [];

    /** @var array<int, array<int, Order>> price => order id => order */
    private array $bids = [];

    /** @var array<int, array<int, Order>> */
    private array $asks = [];

    /** @var SplMaxHeap<int> */
    private SplMaxHeap $bidPrices;

    /** @var SplMinHeap<int> */
    private SplMinHeap $askPrices;

    public function __construct()
    {
        $this->bidPrices = new SplMaxHeap();
        $this->askPrices = new SplMinHeap();
    }

    public function find(int $id): ?Order
    {
        return $this->orders[Order::key($id)] ?? null;
    }

    public function count(): int
    {
        return count($this->orders);
    }

    /** Puts an order behind all others of its price. */
    public function rest(Order $order): void
    {
        $key = Order::key($order->id);

        if (isset($this->orders[$key])) {
            throw new LogicException("order {$order->id} is in the book already");
        }

        $this->orders[$key] = $order;

        if ($order->side === Side::Buy) {
            $this->enter($this->bids, $this->bidPrices, $order);
        } else {
            $this->enter($this->asks, $this->askPrices, $order);
        }
    }

    public function remove(Order $order): void
    {
        unset($this->orders[Order::key($order->id)]);

        // An empty level stays, as an empty array: its price is still in the heap.
        if ($order->side === Side::Buy) {
            unset($this->bids[$order->price][$order->id]);
        } else {
            unset($this->asks[$order->price][$order->id]);
        }
    }

    /** What the taker would be matched with next. Changes nothing in the orders. */
    public function nextFill(Order $taker): ?Fill
    {
        $maker = $taker->side === Side::Buy
            ? $this->best($this->asks, $this->askPrices)
            : $this->best($this->bids, $this->bidPrices);

        if ($maker === null || ($taker->side === Side::Buy ? $maker->price > $taker->price : $maker->price < $taker->price)) {
            return null;
        }

        $quantity = min($taker->remaining(), $maker->remaining());

        if ($taker->isMarketBuy()) {
            $quantity = min($quantity, Order::affordable($taker->lock(), $maker->price));
        }

        return $quantity > 0 ? new Fill($maker, $maker->price, $quantity) : null;
    }

    public function hasAsks(): bool
    {
        return $this->best($this->asks, $this->askPrices) !== null;
    }

    /**
     * What a market buy would pay, as far as the funds reach and the asks go.
     *
     * @param int $funds in 1e-10; @return int likewise
     */
    public function cost(Order $taker, int $funds): int
    {
        $cost = 0;
        $remaining = $taker->remaining();
        $prices = clone $this->askPrices;

        while ($remaining > 0 && !$prices->isEmpty()) {
            $price = $prices->extract();

            foreach ($this->asks[$price] as $maker) {
                $wanted = min($remaining, $maker->remaining());
                $quantity = min($wanted, Order::affordable($funds - $cost, $price));
                $cost = Decimal::sum($cost, Order::lockOf(Side::Buy, $price, $quantity));
                $remaining -= $quantity;

                if ($quantity < $wanted) {
                    return $cost;
                }

                if ($remaining === 0) {
                    break;
                }
            }
        }

        return $cost;
    }

    /**
     * @param array<int, array<int, Order>> $levels
     * @param SplHeap<int> $prices
     */
    private function enter(array &$levels, SplHeap $prices, Order $order): void
    {
        if (!isset($levels[$order->price])) {
            $prices->insert($order->price);
        }

        $levels[$order->price][$order->id] = $order;
    }

    /**
     * @param array<int, array<int, Order>> $levels
     * @param SplHeap<int> $prices
     */
    private function best(array &$levels, SplHeap $prices): ?Order
    {
        while (!$prices->isEmpty()) {
            $price = $prices->top();
            $first = array_key_first($levels[$price]);

            if ($first !== null) {
                return $levels[$price][$first];
            }

            $prices->extract();
            unset($levels[$price]);
        }

        return null;
    }
}
