<?php

declare(strict_types=1);

namespace App\Spot\Orders;

use App\Spot\Decimal;
use App\Spot\Market;

/** An order while it can still be matched. Units: see Market. */
final class Order
{
    /** What a market order is ready to pay, or to take: every price crosses it. */
    public const ANY_PRICE_TO_BUY = PHP_INT_MAX;
    public const ANY_PRICE_TO_SELL = 0;

    /**
     * @param int $price    in 0.1 USD
     * @param int $quantity in 1e-8: executed + remaining
     * @param int $event    number of the input event that placed it: its place in the queue
     * @param int $createdAtMs time of that event, and of the matches that it makes as a taker
     * @param bool $ioc     what is not matched at once is canceled
     * @param int $budget   in 1e-10: what a market buy locks; nothing for every other order
     * @param int $executed in 1e-8
     * @param int $notional in 1e-9: the sum of price x quantity over its trades
     * @param int $fee      in 1e-10: the fees taken from it
     */
    public function __construct(
        public readonly int $id,
        public readonly int $userId,
        public readonly Side $side,
        public readonly int $price,
        public int $quantity,
        public readonly int $event,
        public readonly int $createdAtMs,
        public readonly OrderType $type = OrderType::Limit,
        public readonly bool $ioc = false,
        public int $budget = 0,
        public int $executed = 0,
        public int $notional = 0,
        public int $fee = 0,
    ) {
    }

    /**
     * The key of an order in a large array.
     *
     * PHP hashes an integer key to itself and takes its low bits. The exchange's ids are
     * times with few different low bits, so that thousands of them fall into one bucket and
     * a look-up takes microseconds. A text is hashed properly.
     */
    public static function key(int $id): string
    {
        return "#{$id}";
    }

    public static function idOfKey(string $key): int
    {
        return (int) substr($key, 1);
    }

    /** The price at which a market order takes its place before the book. */
    public static function anyPrice(Side $side): int
    {
        return $side === Side::Buy ? self::ANY_PRICE_TO_BUY : self::ANY_PRICE_TO_SELL;
    }

    public function remaining(): int
    {
        return $this->quantity - $this->executed;
    }

    /** Whether it may wait in the book. */
    public function rests(): bool
    {
        return !$this->ioc && $this->type === OrderType::Limit;
    }

    public function isMarketBuy(): bool
    {
        return $this->type === OrderType::Market && $this->side === Side::Buy;
    }

    public function status(): OrderStatus
    {
        return match ($this->executed) {
            0 => OrderStatus::Pending,
            $this->quantity => OrderStatus::Executed,
            default => OrderStatus::Executing,
        };
    }

    /** What its owner cannot spend while it is open, in 1e-10 of the currency (buy) or the coin (sell). */
    public function lock(): int
    {
        return $this->isMarketBuy()
            ? $this->budget - Decimal::product($this->notional, Market::AMOUNT_PER_NOTIONAL)
            : self::lockOf($this->side, $this->price, $this->remaining());
    }

    public static function lockOf(Side $side, int $price, int $quantity): int
    {
        return $side === Side::Buy
            ? Decimal::product(Decimal::product($price, $quantity), Market::AMOUNT_PER_NOTIONAL)
            : Decimal::product($quantity, Market::AMOUNT_PER_QUANTITY);
    }

    /** @return int in 1e-8: how much of what remains an amount in 1e-10 of the currency pays for */
    public static function affordable(int $amount, int $price): int
    {
        return intdiv($amount, Decimal::product($price, Market::AMOUNT_PER_NOTIONAL));
    }

    /** @param int $quantity in 1e-8; @param int $notional in 1e-9; @param int $fee in 1e-10 */
    public function fill(int $quantity, int $notional, int $fee): void
    {
        $this->executed += $quantity;
        $this->notional = Decimal::sum($this->notional, $notional);
        $this->fee += $fee;
    }

    public function executedPrice(): string
    {
        return self::meanPrice($this->notional, $this->executed);
    }

    /**
     * The volume-weighted mean price with 10 decimals, rounded half up.
     *
     * notional / executed is in 0.1 USD, so nine more decimals are wanted. They are made in
     * two steps, 4 and 5: a remainder is below the volume (1.4e13 at most in the sample), and
     * times 1e5 that stays within 64 bits, where times 1e9 would not.
     *
     * @param int $notional in 1e-9
     * @param int $executed in 1e-8
     */
    public static function meanPrice(int $notional, int $executed): string
    {
        if ($executed === 0) {
            return '0.0000000000';
        }

        $mean = intdiv($notional, $executed);
        $rest = $notional % $executed;

        if ($rest !== 0) {
            foreach ([10_000, 100_000] as $factor) {
                $rest = Decimal::product($rest, $factor);
                $mean = Decimal::sum(Decimal::product($mean, $factor), intdiv($rest, $executed));
                $rest %= $executed;
            }

            return Decimal::format($rest >= $executed - $rest ? $mean + 1 : $mean, Market::AMOUNT_SCALE);
        }

        return Decimal::format(Decimal::product($mean, 1_000_000_000), Market::AMOUNT_SCALE);
    }
}
