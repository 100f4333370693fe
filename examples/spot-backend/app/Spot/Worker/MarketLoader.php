<?php

declare(strict_types=1);

namespace App\Spot\Worker;

use App\Spot\Decimal;
use App\Spot\Exchange;
use App\Spot\Funds\OwnFunds;
use App\Spot\Market;
use App\Spot\Orders\Order;
use App\Spot\Orders\OrderStatus;
use App\Spot\Orders\OrderType;
use App\Spot\Orders\Side;
use Illuminate\Database\Connection;
use Illuminate\Database\Query\Builder;
use RuntimeException;

/**
 * Takes up the market where the database says it stands. To be called with nothing pending.
 */
final class MarketLoader
{
    public function __construct(
        private readonly Connection $database,
        private readonly Market $market,
    ) {
    }

    public function progress(): Progress
    {
        $row = $this->database->table('spot_progress')->where('market', $this->market->key())->first()
            ?? throw new RuntimeException("{$this->market->key()} has no row in spot_progress: it was never worked.");

        return new Progress(
            $this->market->key(),
            $row->input,
            (int) $row->epoch,
            (int) $row->events,
            $row->position,
            (int) $row->match_id,
            (int) $row->steps,
        );
    }

    /** @param list<string> $currencies that no other market locks funds in */
    public function funds(array $currencies): OwnFunds
    {
        $funds = new OwnFunds($this->market);

        foreach ($currencies as $currency) {
            $amounts = [];
            $table = Exchange::accountTable($currency);

            foreach ($this->database->table($table)->select('id', 'available_balance')->cursor() as $row) {
                $amounts[(int) $row->id] = Decimal::parse((string) $row->available_balance, Market::AMOUNT_SCALE);
            }

            if ($amounts === []) {
                throw new RuntimeException("{$table} is empty: run spot:migrate-and-seed first.");
            }

            $funds->load($currency, $amounts);
        }

        return $funds;
    }

    /**
     * Open orders in the order in which they were placed: price-time priority as it was.
     *
     * Rest them all but the last, and match that one if the event that placed it is the last
     * one consumed: a crash may have come between placing and matching it.
     *
     * @return list<Order>
     */
    public function openOrders(): array
    {
        $notionals = $this->notionalsOfExecuting();
        $orders = [];

        foreach ($this->ofMarket('orders')->whereIn('status', OrderStatus::inBook())->orderBy('event')->cursor() as $row) {
            $side = Side::from($row->trade_type);
            $orders[] = new Order(
                (int) $row->id,
                (int) $row->user_id,
                $side,
                $row->price === null ? Order::anyPrice($side) : Decimal::parse((string) $row->price, Market::PRICE_SCALE),
                Decimal::parse((string) $row->quantity, Market::QUANTITY_SCALE),
                (int) $row->event,
                (int) $row->created_at,
                OrderType::from($row->type),
                (bool) $row->ioc,
                $row->budget === null ? 0 : Decimal::parse((string) $row->budget, Market::AMOUNT_SCALE),
                Decimal::parse((string) $row->executed_quantity, Market::QUANTITY_SCALE),
                $notionals[Order::key((int) $row->id)] ?? 0,
                Decimal::parse((string) $row->fee, Market::AMOUNT_SCALE),
            );
        }

        return $orders;
    }

    private function ofMarket(string $table): Builder
    {
        return $this->database->table($table)
            ->where("{$table}.currency", $this->market->currency)->where("{$table}.coin", $this->market->coin);
    }

    /**
     * The mean price in the orders table is rounded, so the exact sums come from the trades.
     *
     * @return array<string, int> Order::key() => sum of price x quantity in 1e-9
     */
    private function notionalsOfExecuting(): array
    {
        $notionals = [];

        foreach (['buy_order_id', 'sell_order_id'] as $side) {
            $trades = $this->ofMarket('order_transactions')
                ->join('orders', 'orders.id', '=', "order_transactions.{$side}")
                ->where('orders.status', OrderStatus::Executing->value)
                ->select("order_transactions.{$side} as order_id", 'order_transactions.price', 'order_transactions.quantity');

            foreach ($trades->cursor() as $trade) {
                $notional = Decimal::product(
                    Decimal::parse((string) $trade->price, Market::PRICE_SCALE),
                    Decimal::parse((string) $trade->quantity, Market::QUANTITY_SCALE),
                );
                $key = Order::key((int) $trade->order_id);
                $notionals[$key] = Decimal::sum($notionals[$key] ?? 0, $notional);
            }
        }

        return $notionals;
    }
}
