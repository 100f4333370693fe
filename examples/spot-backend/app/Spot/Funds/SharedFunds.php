<?php

declare(strict_types=1);

namespace App\Spot\Funds;

use App\Spot\Decimal;
use App\Spot\Exchange;
use App\Spot\Market;
use App\Spot\Matching\OrderBook;
use App\Spot\Orders\Order;
use App\Spot\Orders\OrderRules;
use App\Spot\Orders\OrderStatus;
use App\Spot\Storage\Columns;
use App\Spot\Worker\Lease;
use App\Spot\Worker\Outages;
use Illuminate\Database\Connection;
use RuntimeException;
use WriteBuffer;

/**
 * Accounts that several markets lock funds in.
 *
 * No worker knows alone what is left, so the check is made where all of them meet: one
 * transaction of the database locks the accounts' rows, takes the funds if they reach, and
 * stores the order with status `new`, so that a worker that dies now leaves no lock without an
 * order. It is the only write that bypasses the buffer and the only one that makes available
 * funds less. What is buffered elsewhere can only be more: the check errs on the safe side.
 */
final class SharedFunds implements Funds
{
    private const ATTEMPTS = 50;

    /** SQLite before 3.32 takes 999 parameters in one statement; an order has 24 columns. */
    private const ROWS_PER_INSERT = 40;

    /** @var array<string, int> budget of orders whose funds are reserved, by Order::key() */
    private array $reserved = [];

    /** @var array<int, bool> users who have an account in each of the currencies */
    private array $users = [];

    /** @param list<string> $currencies those of the market that are shared */
    public function __construct(
        private readonly Market $market,
        private readonly array $currencies,
        private readonly Connection $database,
        private readonly WriteBuffer $buffer,
        private readonly Lease $lease,
        private readonly Outages $outages = new Outages(),
    ) {
    }

    public function hasAccounts(int $userId): bool
    {
        // Accounts are opened, never closed: who has one once has it.
        return ($this->users[$userId] ?? false)
            || ($this->users[$userId] = $this->outages->outlast($this->database, fn (): bool => $this->findAccounts($userId)));
    }

    /** @param array<int, int> $budgets of orders that an earlier worker reserved funds for, by id */
    public function resume(array $budgets): void
    {
        $this->reserved = [];

        foreach ($budgets as $id => $budget) {
            $this->reserved[Order::key($id)] = $budget;
        }
    }

    /**
     * Reserves for as many of these as the funds reach for; the others are looked at again when
     * their turn comes. A market buy's budget is not known before.
     *
     * @param list<Order> $orders
     */
    public function reserveAll(array $orders): void
    {
        $this->reserve(array_values(array_filter($orders, fn (Order $order): bool => $this->isShared($order)
            && !$order->isMarketBuy() && OrderRules::objection($order) === null)));
    }

    public function lock(Order $order, OrderBook $book): Lock
    {
        $key = Order::key($order->id);
        $attempts = 0;
        $reserve = function () use ($order, $book, &$attempts): bool {
            return $attempts++ > 0 && $this->isStored($order) || $this->tryToReserve($order, $book);
        };

        if (!isset($this->reserved[$key]) && !$this->outages->outlast($this->database, $reserve)) {
            return Lock::InStep;
        }

        if (!isset($this->reserved[$key])) {
            return Lock::Refused;
        }

        if ($order->isMarketBuy()) {
            $order->budget = $this->reserved[$key];
        }

        unset($this->reserved[$key]);

        return Lock::Reserved;
    }

    /** The accounts' own rows know what is available. */
    public function credit(int $userId, string $currency, int $amount): void
    {
    }

    /** @return bool false if there is nothing to lock */
    private function tryToReserve(Order $order, OrderBook $book): bool
    {
        $wanted = $order->isMarketBuy() ? $book->cost($order, PHP_INT_MAX) : $order->lock();
        $available = $this->available($order, $wanted);

        if ($order->isMarketBuy()) {
            $order->budget = $book->cost($order, $available);
        }

        if ($order->lock() === 0) {
            return false;
        }

        $this->reserve([$order]);

        return true;
    }

    /** Whether a reservation was committed, though its connection was lost. */
    private function isStored(Order $order): bool
    {
        if (!$this->database->table('orders')->where('id', $order->id)->exists()) {
            return false;
        }

        $this->reserved[Order::key($order->id)] = $order->budget;

        return true;
    }

    private function isShared(Order $order): bool
    {
        return in_array($this->market->paidIn($order->side), $this->currencies, true);
    }

    private function findAccounts(int $userId): bool
    {
        foreach ($this->currencies as $currency) {
            if (!$this->database->table(Exchange::accountTable($currency))->where('id', $userId)->exists()) {
                return false;
            }
        }

        return true;
    }

    /** @param int $wanted in 1e-10: if there is less, what this worker has buffered is written first */
    private function available(Order $order, int $wanted): int
    {
        $currency = $this->market->paidIn($order->side);
        $available = $this->storedAvailable($order->userId, $currency);

        if ($available >= $wanted || $this->buffer->find('balances', ['user_id' => $order->userId, 'currency' => $currency]) === null) {
            return $available;
        }

        $until = hrtime(true) + Outages::OUTAGE_MAX_S * 1_000_000_000;

        do {
            $result = $this->buffer->flush();
        } while (!$result->isSuccess() && $result->getQuarantined() === 0 && hrtime(true) < $until);

        return $result->isSuccess()
            ? $this->storedAvailable($order->userId, $currency)
            : throw new RuntimeException('Funds cannot be looked at: ' . implode('; ', $result->getErrors()));
    }

    private function storedAvailable(int $userId, string $currency): int
    {
        $available = $this->database->table(Exchange::accountTable($currency))->where('id', $userId)->value('available_balance');

        return Decimal::parse((string) $available, Market::AMOUNT_SCALE);
    }

    /**
     * Orders, accounts by currency and id, then the lease: the order in which the buffers' batches
     * lock rows, so that two workers meet in a deadlock as rarely as can be. Writing comes first,
     * because SQLite turns no reader into a writer once somebody else has written.
     *
     * @param list<Order> $orders
     */
    private function reserve(array $orders): void
    {
        if ($orders === []) {
            return;
        }

        $accepted = $this->database->transaction(function () use ($orders): array {
            $this->insert($orders);
            $accepted = [];

            foreach ($this->currencies as $currency) {
                $ofCurrency = array_filter($orders, fn (Order $order): bool => $this->market->paidIn($order->side) === $currency);
                $accepted = [...$accepted, ...($ofCurrency === [] ? [] : $this->take($currency, $ofCurrency))];
            }

            $refused = array_udiff($orders, $accepted, static fn (Order $a, Order $b): int => $a->id <=> $b->id);
            $this->database->table('orders')->whereIn('id', array_map(static fn (Order $order): int => $order->id, $refused))->delete();
            $this->lease->assertHeld();

            return $accepted;
        }, self::ATTEMPTS);

        foreach ($accepted as $order) {
            $this->reserved[Order::key($order->id)] = $order->budget;
        }
    }

    /** @param list<Order> $orders */
    private function insert(array $orders): void
    {
        foreach (array_chunk($orders, self::ROWS_PER_INSERT) as $chunk) {
            $this->database->table('orders')->insert(array_map(
                fn (Order $order): array => ['id' => $order->id] + Columns::newOrder($this->market, $order, OrderStatus::New),
                $chunk,
            ));
        }
    }

    /**
     * @param array<int, Order> $orders that pay in the currency
     * @return list<Order> those that the funds reached for
     */
    private function take(string $currency, array $orders): array
    {
        $table = Exchange::accountTable($currency);
        $ids = array_values(array_unique(array_map(static fn (Order $order): int => $order->userId, $orders)));
        $rows = $this->database->table($table)->whereIn('id', $ids)->orderBy('id')->lockForUpdate()->get(['id', 'available_balance']);
        $before = [];

        foreach ($rows as $row) {
            $before[(int) $row->id] = Decimal::parse((string) $row->available_balance, Market::AMOUNT_SCALE);
        }

        $left = $before;
        $accepted = [];

        foreach ($orders as $order) {
            if ($order->lock() <= ($left[$order->userId] ?? -1)) {
                $left[$order->userId] -= $order->lock();
                $accepted[] = $order;
            }
        }

        foreach (array_diff_assoc($left, $before) as $userId => $amount) {
            $this->database->table($table)->where('id', $userId)
                ->update(['available_balance' => Decimal::format($amount, Market::AMOUNT_SCALE)]);
        }

        return $accepted;
    }
}
