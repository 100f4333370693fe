<?php

declare(strict_types=1);

namespace App\Spot\Orders;

use App\Spot\Decimal;
use App\Spot\Market;
use App\Spot\Matching\Fill;

/** One match: fills both orders and says what it moves, and for whom. All amounts in 1e-10. */
final class Settlement
{
    /**
     * @param int $notional    price x quantity in 1e-9
     * @param int $amount      the same, as an account amount
     * @param int $volume      the quantity, as an account amount
     * @param int $improvement what the buyer had locked beyond the price of the match
     */
    private function __construct(
        public readonly Order $taker,
        public readonly Order $buy,
        public readonly Order $sell,
        public readonly Fill $fill,
        public readonly int $notional,
        public readonly int $amount,
        public readonly int $volume,
        public readonly int $improvement,
        public readonly int $buyFee,
        public readonly int $sellFee,
    ) {
    }

    public static function of(Order $taker, Fill $fill, Fees $fees): self
    {
        [$buy, $sell] = $taker->side === Side::Buy ? [$taker, $fill->maker] : [$fill->maker, $taker];
        $notional = Decimal::product($fill->price, $fill->quantity);
        $buyFee = $fees->ofBuyer($fill->quantity);
        $sellFee = $fees->ofSeller($notional);
        $buy->fill($fill->quantity, $notional, $buyFee);
        $sell->fill($fill->quantity, $notional, $sellFee);
        // Nothing stays locked for an executed order, whatever its budget was.
        $improvement = $buy->isMarketBuy()
            ? ($buy->remaining() === 0 ? $buy->lock() : 0)
            : Order::lockOf(Side::Buy, $buy->price - $fill->price, $fill->quantity);

        return new self(
            $taker,
            $buy,
            $sell,
            $fill,
            $notional,
            Decimal::product($notional, Market::AMOUNT_PER_NOTIONAL),
            Decimal::product($fill->quantity, Market::AMOUNT_PER_QUANTITY),
            $improvement,
            $buyFee,
            $sellFee,
        );
    }

    /** What the buyer receives of the coin. */
    public function bought(): int
    {
        return $this->volume - $this->buyFee;
    }

    /** What the seller receives of the currency. */
    public function earned(): int
    {
        return $this->amount - $this->sellFee;
    }
}
