<?php

declare(strict_types=1);

namespace App\Spot\Storage;

use App\Spot\Decimal;
use App\Spot\Market;
use App\Spot\Orders\Order;
use App\Spot\Orders\OrderStatus;
use App\Spot\Orders\OrderType;
use App\Spot\Orders\Settlement;

/** The exchange's objects as columns of its tables. */
final class Columns
{
    /** @return array<string, int|string|bool|null> */
    public static function newOrder(Market $market, Order $order, OrderStatus $status): array
    {
        $isMarket = $order->type === OrderType::Market;

        return [
            'original_id' => null,
            'user_id' => $order->userId,
            'email' => self::email($order->userId),
            'trade_type' => $order->side->value,
            'currency' => $market->currency,
            'coin' => $market->coin,
            'type' => $order->type->value,
            'status' => $status->value,
            'ioc' => (int) $order->ioc,
            'quantity' => Decimal::format($order->quantity, Market::QUANTITY_SCALE),
            'price' => $isMarket ? null : Decimal::format($order->price, Market::PRICE_SCALE),
            'executed_quantity' => '0',
            'executed_price' => '0',
            'base_price' => null,
            'stop_condition' => null,
            'fee' => '0',
            'reverse_price' => null,
            'market_type' => 0,
            'budget' => $order->isMarketBuy() ? Decimal::format($order->budget, Market::AMOUNT_SCALE) : null,
            'event' => $order->event,
            'created_at' => $order->createdAtMs,
            'updated_at' => $order->createdAtMs,
        ];
    }

    /** @return array<string, int|string> */
    public static function filledOrder(Order $order, int $atMs): array
    {
        return [
            'executed_quantity' => Decimal::format($order->executed, Market::QUANTITY_SCALE),
            'executed_price' => $order->executedPrice(),
            'fee' => Decimal::format($order->fee, Market::AMOUNT_SCALE),
            'status' => $order->status()->value,
            'updated_at' => $atMs,
        ];
    }

    /** @return array<string, int|string> */
    public static function trade(Market $market, Settlement $match, int $matchId, int $atMs): array
    {
        return [
            'match_id' => $matchId,
            'buy_order_id' => $match->buy->id,
            'sell_order_id' => $match->sell->id,
            'currency' => $market->currency,
            'coin' => $market->coin,
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

    private static function email(int $userId): string
    {
        return "user{$userId}@example.com";
    }
}
