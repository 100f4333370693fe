<?php

declare(strict_types=1);

namespace App\Spot;

use App\Spot\Matching\Fill;
use App\Spot\Matching\OrderBook;
use App\Spot\Storage\SpotStore;
use LogicException;

/**
 * Places, matches, reduces and cancels limit orders.
 *
 * Every step is one atomic group that also holds the progress row. The orders of the book are
 * changed just before they are written, so an exception out of this class ends the worker:
 * the next one starts from the database, where the group is whole or absent.
 */
final class OrderService
{
    /** A price times 1e9 is a mean price in 1e-10: 922 million USD, in 0.1 USD. */
    private const PRICE_MAX = 9_223_372_036;

    /** A volume times 1e5 is a step of the mean's division: 922,337 BTC, in 1e-8. */
    private const QUANTITY_MAX = 92_233_720_368_547;

    /** Matching stops once this match is made: the audit replays up to what a database holds. */
    public int $lastMatchId = PHP_INT_MAX;

    public function __construct(
        private readonly Market $market,
        private readonly SpotStore $store,
        private readonly OrderBook $book,
        private readonly AvailableFunds $funds,
        private readonly Progress $progress,
        private readonly Fees $fees = new Fees(),
    ) {
    }

    /**
     * Locks the funds and accepts the order, or refuses it with status `removed` and no lock.
     *
     * An accepted order is not in the book yet: match() matches it first.
     */
    public function place(Order $order): bool
    {
        if ($this->book->find($order->id) !== null) {
            throw new LogicException("order {$order->id} was created before");
        }

        $atMs = $order->createdAtMs;
        $accepted = $this->isAcceptable($order);
        $currency = $order->side === Side::Buy ? $this->market->currency : $this->market->coin;
        $lock = $accepted ? $order->lock() : 0;

        $this->store->group(function () use ($order, $atMs, $accepted, $currency, $lock): void {
            $this->store->order($order->id, $this->columnsOfNew($order, $accepted));

            if ($accepted) {
                $this->funds->change($order->userId, $currency, -$lock);
                $this->store->balance($order->userId, $currency, [
                    'available_balance' => Decimal::format(-$lock, Market::AMOUNT_SCALE),
                    'updated_at' => $atMs,
                ]);
            }

            $this->store->progress($this->progress, $atMs);
        });

        return $accepted;
    }

    /** Matches an accepted order while it crosses, then rests what is left; returns the number of matches. */
    public function match(Order $taker): int
    {
        $matches = 0;

        while ($taker->remaining() > 0 && $this->progress->matchId < $this->lastMatchId) {
            $fill = $this->book->nextFill($taker);

            if ($fill === null) {
                break;
            }

            $this->settle($taker, $fill);
            $matches++;
        }

        if ($taker->remaining() > 0) {
            $this->book->rest($taker);
        }

        return $matches;
    }

    /** @param int $remaining in 1e-8: what may be left at most; an order keeps its place in the queue */
    public function reduce(int $id, int $remaining, int $atMs): Outcome
    {
        $order = $this->current($id);

        if (!$order instanceof Order) {
            return $order;
        }

        if ($remaining <= 0) {
            return $this->cancel($id, $atMs);
        }

        if ($remaining >= $order->remaining()) {
            return Outcome::Unchanged;
        }

        $lockBefore = $order->lock();
        $order->quantity = $order->executed + $remaining;

        $this->release($order, $lockBefore - $order->lock(), $atMs, [
            'quantity' => Decimal::format($order->quantity, Market::QUANTITY_SCALE),
            'updated_at' => $atMs,
        ]);

        return Outcome::Done;
    }

    public function cancel(int $id, int $atMs): Outcome
    {
        $order = $this->current($id);

        if (!$order instanceof Order) {
            return $order;
        }

        $this->book->remove($order);
        $this->release($order, $order->lock(), $atMs, [
            'status' => OrderStatus::Canceled->value,
            'updated_at' => $atMs,
        ]);

        return Outcome::Done;
    }

    /** Nothing but the progress: an event without effect has been consumed, too. */
    public function skip(int $atMs): void
    {
        $this->store->progress($this->progress, $atMs);
    }

    private function isAcceptable(Order $order): bool
    {
        if ($order->price <= 0 || $order->quantity <= 0) {
            return false;
        }

        // What the integers can hold: see Market and Order::meanPrice().
        if (
            $order->price > self::PRICE_MAX
            || $order->quantity > self::QUANTITY_MAX
            || $order->quantity > intdiv(PHP_INT_MAX, Market::AMOUNT_PER_QUANTITY * $order->price)
        ) {
            return false;
        }

        return $this->funds->cover(
            $order->userId,
            $order->side === Side::Buy ? $this->market->currency : $this->market->coin,
            $order->lock(),
        );
    }

    /**
     * The open order as it is now, fills that are still buffered included.
     *
     * What the buffer holds for the order is compared with the book: a worker that acted on
     * anything else than the newest fills would overfill, so a difference ends it.
     */
    private function current(int $id): Order|Outcome
    {
        $order = $this->book->find($id);

        if ($order === null) {
            $status = $this->store->orderStatus($id);

            if ($status === null) {
                return Outcome::Unknown;
            }

            return OrderStatus::from($status)->isFinal()
                ? Outcome::Late
                : throw new LogicException("order {$id} is {$status} but not in the book: does a second worker write this market?");
        }

        $pending = $this->store->pendingOrder($id) ?? [];
        $quantity = isset($pending['quantity']) ? Decimal::parse((string) $pending['quantity'], Market::QUANTITY_SCALE) : $order->quantity;
        $executed = isset($pending['executed_quantity'])
            ? Decimal::parse((string) $pending['executed_quantity'], Market::QUANTITY_SCALE)
            : $order->executed;

        if ($quantity !== $order->quantity || $executed !== $order->executed) {
            throw new LogicException("order {$id}: the buffer holds {$executed} of {$quantity}, the book {$order->executed} of {$order->quantity}");
        }

        return $order;
    }

    /** @param array<string, int|string> $columns of the order; @param int $amount in 1e-10, given back to its owner */
    private function release(Order $order, int $amount, int $atMs, array $columns): void
    {
        $currency = $order->side === Side::Buy ? $this->market->currency : $this->market->coin;
        $this->funds->change($order->userId, $currency, $amount);

        $this->store->group(function () use ($order, $amount, $atMs, $columns, $currency): void {
            $this->store->order($order->id, $columns);
            $this->store->balance($order->userId, $currency, [
                'available_balance' => Decimal::format($amount, Market::AMOUNT_SCALE),
                'updated_at' => $atMs,
            ]);
            $this->store->progress($this->progress, $atMs);
        });
    }

    /** One match: a trade, both orders, four accounts and the progress, together or not at all. */
    private function settle(Order $taker, Fill $fill): void
    {
        $match = Settlement::of($taker, $fill, $this->fees);
        $match->buy->fill($fill->quantity, $match->notional, $match->buyFee);
        $match->sell->fill($fill->quantity, $match->notional, $match->sellFee);
        $this->progress->matchId++;

        if ($fill->maker->remaining() === 0) {
            $this->book->remove($fill->maker);
        }

        $this->funds->change($match->buy->userId, $this->market->currency, $match->improvement);
        $this->funds->change($match->buy->userId, $this->market->coin, $match->bought());
        $this->funds->change($match->sell->userId, $this->market->currency, $match->earned());

        $this->store->group(function () use ($match): void {
            $atMs = $match->taker->createdAtMs;
            $this->store->trade($this->columnsOfTrade($match, $atMs));
            $this->store->order($match->buy->id, self::columnsOfFilled($match->buy, $atMs));
            $this->store->order($match->sell->id, self::columnsOfFilled($match->sell, $atMs));
            $this->writeBalances($match, $atMs);
            $this->store->progress($this->progress, $atMs);
        });
    }

    /** `usd_amount` of a coin account: the currency put into the coin by trading, less what was taken out. */
    private function writeBalances(Settlement $match, int $atMs): void
    {
        $amount = Decimal::format($match->amount, Market::AMOUNT_SCALE);
        $bought = Decimal::format($match->bought(), Market::AMOUNT_SCALE);
        $earned = Decimal::format($match->earned(), Market::AMOUNT_SCALE);

        $this->store->balance($match->buy->userId, $this->market->currency, [
            'balance' => '-' . $amount,
            'available_balance' => Decimal::format($match->improvement, Market::AMOUNT_SCALE),
            'updated_at' => $atMs,
        ]);
        $this->store->balance($match->buy->userId, $this->market->coin, [
            'balance' => $bought,
            'available_balance' => $bought,
            'usd_amount' => $amount,
            'updated_at' => $atMs,
        ]);
        $this->store->balance($match->sell->userId, $this->market->currency, [
            'balance' => $earned,
            'available_balance' => $earned,
            'updated_at' => $atMs,
        ]);
        $this->store->balance($match->sell->userId, $this->market->coin, [
            'balance' => Decimal::format(-$match->volume, Market::AMOUNT_SCALE),
            'usd_amount' => '-' . $amount,
            'updated_at' => $atMs,
        ]);
    }

    /** @return array<string, int|string> */
    private function columnsOfTrade(Settlement $match, int $atMs): array
    {
        return [
            'match_id' => $this->progress->matchId,
            'buy_order_id' => $match->buy->id,
            'sell_order_id' => $match->sell->id,
            'currency' => $this->market->currency,
            'coin' => $this->market->coin,
            'price' => Decimal::format($match->fill->price, Market::PRICE_SCALE),
            'quantity' => Decimal::format($match->fill->quantity, Market::QUANTITY_SCALE),
            'amount' => Decimal::format($match->amount, Market::AMOUNT_SCALE),
            'btc_amount' => Decimal::format($match->volume, Market::AMOUNT_SCALE),
            'status' => OrderStatus::Executed->value,
            'executed_date' => gmdate('Y-m-d', intdiv($atMs, 1_000)),
            'buy_fee' => Decimal::format($match->buyFee, Market::AMOUNT_SCALE),
            'sell_fee' => Decimal::format($match->sellFee, Market::AMOUNT_SCALE),
            'transaction_type' => $match->taker->side->value,
            'buyer_id' => $match->buy->userId,
            'buyer_email' => self::email($match->buy->userId),
            'seller_id' => $match->sell->userId,
            'seller_email' => self::email($match->sell->userId),
            'created_at' => $atMs,
        ];
    }

    /** @return array<string, int|string|bool|null> */
    private function columnsOfNew(Order $order, bool $accepted): array
    {
        return [
            'original_id' => null,
            'user_id' => $order->userId,
            'email' => self::email($order->userId),
            'trade_type' => $order->side->value,
            'currency' => $this->market->currency,
            'coin' => $this->market->coin,
            'type' => 'limit',
            'status' => ($accepted ? OrderStatus::Pending : OrderStatus::Removed)->value,
            'ioc' => 0,
            'quantity' => Decimal::format($order->quantity, Market::QUANTITY_SCALE),
            'price' => Decimal::format($order->price, Market::PRICE_SCALE),
            'executed_quantity' => '0',
            'executed_price' => '0',
            'base_price' => null,
            'stop_condition' => null,
            'fee' => '0',
            'reverse_price' => null,
            'market_type' => 0,
            'event' => $order->event,
            'created_at' => $order->createdAtMs,
            'updated_at' => $order->createdAtMs,
        ];
    }

    /** @return array<string, int|string> */
    private static function columnsOfFilled(Order $order, int $atMs): array
    {
        return [
            'executed_quantity' => Decimal::format($order->executed, Market::QUANTITY_SCALE),
            'executed_price' => $order->executedPrice(),
            'fee' => Decimal::format($order->fee, Market::AMOUNT_SCALE),
            'status' => $order->status()->value,
            'updated_at' => $atMs,
        ];
    }

    private static function email(int $userId): string
    {
        return "user{$userId}@example.com";
    }
}
