<?php

declare(strict_types=1);

namespace App\Spot\Orders;

use App\Spot\Decimal;
use App\Spot\Market;

/** What an order must be like, whoever places it and whatever funds there are. */
final class OrderRules
{
    /** A price times 1e9 is a mean price in 1e-10: 922 million USD, in 0.1 USD. */
    private const PRICE_MAX = 9_223_372_036;

    /** A volume times 1e5 is a step of the mean's division: 922,337 BTC, in 1e-8. */
    private const QUANTITY_MAX = 92_233_720_368_547;

    public static function objection(Order $order): ?string
    {
        if ($order->quantity <= 0) {
            return 'the quantity has to be positive';
        }

        if ($order->quantity > self::QUANTITY_MAX) {
            return 'the quantity is beyond ' . Decimal::format(self::QUANTITY_MAX, Market::QUANTITY_SCALE);
        }

        if ($order->type === OrderType::Market) {
            return null;
        }

        if ($order->price <= 0) {
            return 'the price has to be positive';
        }

        // What the integers can hold: see Market and Order::meanPrice().
        return $order->price > self::PRICE_MAX || $order->quantity > intdiv(PHP_INT_MAX, Market::AMOUNT_PER_QUANTITY * $order->price)
            ? 'price x quantity is beyond what an account can hold'
            : null;
    }
}
