<?php

declare(strict_types=1);

namespace App\Spot\Orders;

use App\Spot\Decimal;
use App\Spot\Funds\Funds;
use App\Spot\Funds\Lock;
use App\Spot\Market;
use App\Spot\Matching\Fill;
use App\Spot\Matching\OrderBook;
use App\Spot\Storage\Columns;
use App\Spot\Storage\SpotStore;
use App\Spot\Worker\Progress;
use LogicException;

/**
 * Places, matches, reduces and cancels the orders of one market.
 *
 * Every step is one atomic group that also holds the progress row. The orders of the book are
 * changed just before they are written, so an exception out of this class ends the worker:
 * the next one starts from the database, where the group is whole or absent.
 */
final class OrderService
{
    /** Characters in the column. */
    private const REASON_MAX = 255;

    public function __construct(
        private readonly Market $market,
        private readonly SpotStore $store,
        private readonly OrderBook $book,
        private readonly Funds $funds,
        private readonly Progress $progress,
        private readonly Fees $fees = new Fees(),
    ) {
    }

    /**
     * Locks the funds and accepts the order, or refuses it with status `removed` and no lock.
     *
     * An accepted order is not in the book yet: match() matches it first.
     *
     * @return string|null why it was refused
     */
    public function place(Order $order): ?string
    {
        if ($this->book->find($order->id) !== null) {
            return $this->refuse("order {$order->id} was placed before", $order->createdAtMs);
        }

        $lock = Lock::Refused;
        $objection = OrderRules::objection($order)
            ?? ($this->funds->hasAccounts($order->userId) ? null : "user {$order->userId} has no account in this market");

        if ($objection === null) {
            $lock = $this->funds->lock($order, $this->book);
            $objection = $lock === Lock::Refused || $order->isMarketBuy() && $order->budget === 0 && $this->book->hasAsks()
                ? "the {$this->market->paidIn($order->side)} of user {$order->userId} does not reach"
                : null;
        }

        $this->store->step($this->progress, $order->createdAtMs, function () use ($order, $lock, $objection): void {
            $status = $objection === null ? OrderStatus::Pending : OrderStatus::Removed;
            $this->store->order($order->id, Columns::newOrder($this->market, $order, $status));

            if ($objection !== null) {
                $this->writeRefusal($objection, $order->createdAtMs, $order->id);
            } elseif ($lock === Lock::InStep) {
                $this->writeAvailable($order, -$order->lock(), $order->createdAtMs);
            }
        });

        return $objection;
    }

    /**
     * Matches an accepted order while it crosses; then what is left of it rests, or is canceled
     * if it is immediate-or-cancel.
     *
     * @return int the number of matches
     */
    public function match(Order $taker): int
    {
        $matches = 0;

        while ($taker->remaining() > 0 && ($fill = $this->book->nextFill($taker)) !== null) {
            $this->settle($taker, $fill);
            $matches++;
        }

        if ($taker->remaining() > 0) {
            $taker->rests() ? $this->book->rest($taker) : $this->end($taker, $taker->createdAtMs);
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

    /** @param int $userId who asks; 0 if the input does not say it */
    public function cancel(int $id, int $atMs, int $userId = 0): Outcome
    {
        $order = $this->current($id, $userId);

        if (!$order instanceof Order) {
            return $order;
        }

        $this->book->remove($order);
        $this->end($order, $atMs);

        return Outcome::Done;
    }

    /** An entry is consumed that is in no order's history: why is kept. */
    public function refuse(string $reason, int $atMs, ?int $orderId = null): string
    {
        $this->store->step($this->progress, $atMs, fn () => $this->writeRefusal($reason, $atMs, $orderId));

        return $reason;
    }

    /** Nothing but the progress: an event without effect has been consumed, too. */
    public function skip(int $atMs): void
    {
        $this->store->step($this->progress, $atMs);
    }

    /**
     * The open order as it is now, fills that are still buffered included.
     *
     * What the buffer holds for the order is compared with the book: a worker that acted on
     * anything else than the newest fills would overfill, so a difference ends it.
     */
    private function current(int $id, int $userId = 0): Order|Outcome
    {
        $order = $this->book->find($id);

        if ($order === null) {
            return $this->outcomeOfAbsent($id, $userId);
        }

        if ($userId !== 0 && $userId !== $order->userId) {
            return Outcome::Foreign;
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

    private function outcomeOfAbsent(int $id, int $userId): Outcome
    {
        $known = $this->store->knownOrder($id);
        $status = $known === null ? OrderStatus::New : OrderStatus::from((string) $known['status']);

        // An order that is `new` was not consumed yet, and another market's is none of ours.
        if ($status === OrderStatus::New || [$known['currency'], $known['coin']] !== $this->market->currencies()) {
            return Outcome::Unknown;
        }

        if ($userId !== 0 && $userId !== (int) $known['user_id']) {
            return Outcome::Foreign;
        }

        return $status->isFinal()
            ? Outcome::Late
            : throw new LogicException("order {$id} is {$status->value} but not in the book: does a second worker write this market?");
    }

    /** Cancels what is left of an order that is not in the book, or no longer. */
    private function end(Order $order, int $atMs): void
    {
        $this->release($order, $order->lock(), $atMs, [
            'status' => OrderStatus::Canceled->value,
            'updated_at' => $atMs,
        ]);
    }

    /** @param array<string, int|string> $columns of the order; @param int $amount in 1e-10, given back to its owner */
    private function release(Order $order, int $amount, int $atMs, array $columns): void
    {
        $this->funds->credit($order->userId, $this->market->paidIn($order->side), $amount);
        $this->store->step($this->progress, $atMs, function () use ($order, $amount, $atMs, $columns): void {
            $this->store->order($order->id, $columns);
            $this->writeAvailable($order, $amount, $atMs);
        });
    }

    /** One match: a trade, both orders, four accounts and the progress, together or not at all. */
    private function settle(Order $taker, Fill $fill): void
    {
        $match = Settlement::of($taker, $fill, $this->fees);
        $this->progress->matchId++;

        if ($fill->maker->remaining() === 0) {
            $this->book->remove($fill->maker);
        }

        $this->funds->credit($match->buy->userId, $this->market->currency, $match->improvement);
        $this->funds->credit($match->buy->userId, $this->market->coin, $match->bought());
        $this->funds->credit($match->sell->userId, $this->market->currency, $match->earned());

        $atMs = $taker->createdAtMs;
        $this->store->step($this->progress, $atMs, function () use ($match, $atMs): void {
            $this->store->trade(Columns::trade($this->market, $match, $this->progress->matchId, $atMs));
            $this->store->order($match->buy->id, Columns::filledOrder($match->buy, $atMs));
            $this->store->order($match->sell->id, Columns::filledOrder($match->sell, $atMs));
            $this->writeBalances($match, $atMs);
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

    /** @param int $amount in 1e-10 */
    private function writeAvailable(Order $order, int $amount, int $atMs): void
    {
        $this->store->balance($order->userId, $this->market->paidIn($order->side), [
            'available_balance' => Decimal::format($amount, Market::AMOUNT_SCALE),
            'updated_at' => $atMs,
        ]);
    }

    private function writeRefusal(string $reason, int $atMs, ?int $orderId): void
    {
        $this->store->refusal([
            'market' => $this->market->key(),
            'event' => $this->progress->events,
            'position' => $this->progress->position,
            'order_id' => $orderId,
            // Whatever the input held.
            'reason' => mb_substr(mb_scrub($reason, 'UTF-8'), 0, self::REASON_MAX),
            'created_at' => $atMs,
        ]);
    }
}
