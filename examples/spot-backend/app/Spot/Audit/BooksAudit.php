<?php

declare(strict_types=1);

namespace App\Spot\Audit;

use App\Spot\Decimal;
use App\Spot\Exchange;
use App\Spot\Market;
use App\Spot\Orders\Order;
use App\Spot\Orders\OrderStatus;
use App\Spot\Orders\OrderType;
use App\Spot\Orders\Side;
use Illuminate\Database\Connection;
use InvalidArgumentException;
use OverflowException;
use UnhandledMatchError;
use ValueError;

/**
 * The first five statements: what the three kinds of tables say about each other.
 *
 * Integers and bcmath only. A value that is no decimal of its column's scale is a failure of
 * the statement that met it.
 */
final class BooksAudit
{
    /** @var array<string, int> Order::key() => sum of its trades in 1e-8 */
    private array $executed = [];

    /** @var array<string, int> Order::key() => sum of price x quantity of its trades in 1e-9 */
    private array $notional = [];

    /** @var array<string, string> currency => fees in 1e-10 */
    private array $fees;

    /** @var array<string, array<int, int>> currency => user id => locks in 1e-10 */
    private array $locks;

    private Finding $conservation;
    private Finding $locked;
    private Finding $bounds;
    private Finding $orders;
    private Finding $trades;

    public function __construct(
        private readonly Connection $database,
        private readonly Exchange $exchange,
    ) {
        $this->fees = array_fill_keys($exchange->currencies(), '0');
        $this->locks = array_fill_keys($exchange->currencies(), []);
        $this->conservation = new Finding(1, 'the sum of balances changed by the fees taken');
        $this->locked = new Finding(2, 'balance - available = locks of open orders');
        $this->bounds = new Finding(3, '0 <= available <= balance');
        $this->orders = new Finding(4, 'orders agree with their trades');
        $this->trades = new Finding(5, 'each trade exactly once');
    }

    /**
     * @param array<string, int> $lastMatchIds by market
     * @return list<Finding>
     */
    public function run(array $lastMatchIds): array
    {
        $this->readTrades($lastMatchIds);
        $this->readOrders();

        foreach ($this->exchange->currencies() as $currency) {
            $this->readAccounts($currency);
        }

        return [$this->conservation, $this->locked, $this->bounds, $this->orders, $this->trades];
    }

    /** @param array<string, int> $lastMatchIds */
    private function readTrades(array $lastMatchIds): void
    {
        $seen = array_fill_keys(array_keys($lastMatchIds), []);
        $columns = ['id', 'match_id', 'currency', 'coin', 'buy_order_id', 'sell_order_id', 'price', 'quantity', 'amount', 'buy_fee', 'sell_fee'];

        foreach (Rows::of($this->database, 'order_transactions', 'id', $columns) as $row) {
            $matchId = (int) $row['match_id'];
            $market = "{$row['currency']}_{$row['coin']}";

            if (isset($seen[$market][$matchId])) {
                $this->trades->fail("match {$matchId} of {$market} stands in order_transactions twice, the second time with id {$row['id']}");
            } elseif ($matchId < 1 || $matchId > ($lastMatchIds[$market] ?? 0)) {
                $this->trades->fail("match {$matchId} of {$market} (id {$row['id']}) is beyond the last one of spot_progress");
            }

            $seen[$market][$matchId] = true;
            $this->attempt($this->orders, "match {$matchId} of {$market}", fn () => $this->readTrade($matchId, $row));
        }

        foreach ($lastMatchIds as $market => $lastMatchId) {
            for ($matchId = 1; $matchId <= $lastMatchId; $matchId++) {
                if (!isset($seen[$market][$matchId])) {
                    $this->trades->fail("match {$matchId} of {$market} is missing");
                }
            }

            $this->trades->seen .= ($this->trades->seen === '' ? '' : ', ') . count($seen[$market]) . " trades of {$market}, match ids 1 to {$lastMatchId}";
        }
    }

    /** @param array<string, mixed> $row */
    private function readTrade(int $matchId, array $row): void
    {
        $quantity = Decimal::parse((string) $row['quantity'], Market::QUANTITY_SCALE);
        $notional = Decimal::product(Decimal::parse((string) $row['price'], Market::PRICE_SCALE), $quantity);
        $amount = Decimal::parse((string) $row['amount'], Market::AMOUNT_SCALE);

        if ($amount !== Decimal::product($notional, Market::AMOUNT_PER_NOTIONAL)) {
            $this->orders->fail("match {$matchId}: amount {$row['amount']} is not {$row['price']} x {$row['quantity']}");
        }

        foreach (['buy_order_id', 'sell_order_id'] as $side) {
            $key = Order::key((int) $row[$side]);
            $this->executed[$key] = Decimal::sum($this->executed[$key] ?? 0, $quantity);
            $this->notional[$key] = Decimal::sum($this->notional[$key] ?? 0, $notional);
        }

        foreach ([$row['coin'] => 'buy_fee', $row['currency'] => 'sell_fee'] as $currency => $fee) {
            $this->fees[$currency] = bcadd($this->fees[$currency] ?? '0', (string) Decimal::parse((string) $row[$fee], Market::AMOUNT_SCALE), 0);
        }
    }

    private function readOrders(): void
    {
        $columns = [
            'id', 'user_id', 'trade_type', 'currency', 'coin', 'type', 'status', 'price', 'quantity', 'executed_quantity', 'executed_price', 'budget',
        ];
        $count = 0;
        $open = 0;

        foreach (Rows::of($this->database, 'orders', 'id', $columns) as $row) {
            $count++;
            $open += OrderStatus::tryFrom((string) $row['status'])?->isFinal() === false ? 1 : 0;
            $this->attempt($this->orders, "order {$row['id']}", fn () => $this->readOrder((int) $row['id'], $row));
            $key = Order::key((int) $row['id']);
            unset($this->executed[$key], $this->notional[$key]);
        }

        foreach ($this->executed as $key => $executed) {
            $this->orders->fail('order ' . Order::idOfKey($key) . ' has trades of ' . Decimal::format($executed, Market::QUANTITY_SCALE) . ' but does not exist');
        }

        $this->orders->seen = "{$count} orders, {$open} open";
    }

    /** @param array<string, mixed> $row */
    private function readOrder(int $id, array $row): void
    {
        $status = OrderStatus::from((string) $row['status']);
        $side = Side::from((string) $row['trade_type']);
        $quantity = Decimal::parse((string) $row['quantity'], Market::QUANTITY_SCALE);
        $executed = Decimal::parse((string) $row['executed_quantity'], Market::QUANTITY_SCALE);
        $traded = $this->executed[Order::key($id)] ?? 0;

        if ($executed !== $traded) {
            $this->orders->fail("order {$id}: executed {$row['executed_quantity']}, its trades "
                . Decimal::format($traded, Market::QUANTITY_SCALE));
        }

        if ($executed < 0 || $executed > $quantity) {
            $this->orders->fail("order {$id}: executed {$row['executed_quantity']} of {$row['quantity']}");
        }

        $mean = Order::meanPrice($this->notional[Order::key($id)] ?? 0, $traded);

        if (Decimal::canonical((string) $row['executed_price']) !== Decimal::canonical($mean)) {
            $this->orders->fail("order {$id}: executed price {$row['executed_price']}, the mean of its trades {$mean}");
        }

        $fits = match ($status) {
            OrderStatus::New, OrderStatus::Pending, OrderStatus::Removed => $executed === 0,
            OrderStatus::Executing => $executed > 0 && $executed < $quantity,
            OrderStatus::Executed => $executed > 0 && $executed === $quantity,
            OrderStatus::Canceled => $executed < $quantity,
        };

        if (!$fits) {
            $this->orders->fail("order {$id}: status {$status->value} with {$row['executed_quantity']} of {$row['quantity']} executed");
        }

        if (!$status->isFinal()) {
            $currency = (string) ($side === Side::Buy ? $row['currency'] : $row['coin']);
            $userId = (int) $row['user_id'];
            $this->locks[$currency][$userId] = Decimal::sum($this->locks[$currency][$userId] ?? 0, $this->lockOf($id, $side, $row, $quantity - $executed));
        }
    }

    /** @param array<string, mixed> $row; @param int $remaining in 1e-8; @return int in 1e-10 */
    private function lockOf(int $id, Side $side, array $row, int $remaining): int
    {
        if ($row['type'] === OrderType::Market->value && $side === Side::Buy) {
            return Decimal::parse((string) $row['budget'], Market::AMOUNT_SCALE)
                - Decimal::product($this->notional[Order::key($id)] ?? 0, Market::AMOUNT_PER_NOTIONAL);
        }

        $price = $row['price'] === null ? Order::ANY_PRICE_TO_SELL : Decimal::parse((string) $row['price'], Market::PRICE_SCALE);

        return Order::lockOf($side, $price, $remaining);
    }

    private function readAccounts(string $currency): void
    {
        $sum = '0';
        $count = 0;
        $columns = ['id', 'balance', 'available_balance'];

        foreach (Rows::of($this->database, Exchange::accountTable($currency), 'id', $columns) as $row) {
            $count++;
            $this->attempt($this->locked, "{$currency} account {$row['id']}", function () use ($currency, $row, &$sum): void {
                $sum = bcadd($sum, (string) $this->readAccount($currency, $row), 0);
            });
            unset($this->locks[$currency][(int) $row['id']]);
        }

        foreach ($this->locks[$currency] as $id => $lock) {
            $this->locked->fail("{$currency} account {$id} does not exist, its orders lock " . Decimal::format($lock, Market::AMOUNT_SCALE));
        }

        if ($count !== $this->exchange->users) {
            $this->conservation->fail("{$count} {$currency} accounts instead of {$this->exchange->users}");
        }

        $wanted = bcsub(bcmul((string) $this->exchange->deposit($currency), (string) $this->exchange->users, 0), $this->fees[$currency], 0);

        if (bccomp($sum, $wanted, 0) !== 0) {
            $this->conservation->fail("the {$currency} balances are " . self::text(bcsub($sum, $wanted, 0))
                . ' off: ' . self::text($sum) . ' instead of ' . self::text($wanted));
        }

        $this->conservation->seen .= ($this->conservation->seen === '' ? 'fees ' : ', ') . self::text($this->fees[$currency]) . " {$currency}";
        $this->locked->seen = $this->bounds->seen = "{$count} accounts in each currency";
    }

    /**
     * @param array<string, mixed> $row
     * @return int the balance in 1e-10
     */
    private function readAccount(string $currency, array $row): int
    {
        $balance = Decimal::parse((string) $row['balance'], Market::AMOUNT_SCALE);
        $available = Decimal::parse((string) $row['available_balance'], Market::AMOUNT_SCALE);
        $lock = $this->locks[$currency][(int) $row['id']] ?? 0;

        if ($balance - $available !== $lock) {
            $this->locked->fail("{$currency} account {$row['id']}: {$row['balance']} - {$row['available_balance']} is not "
                . Decimal::format($lock, Market::AMOUNT_SCALE));
        }

        if ($available < 0 || $available > $balance) {
            $this->bounds->fail("{$currency} account {$row['id']}: available {$row['available_balance']} of {$row['balance']}");
        }

        return $balance;
    }

    private function attempt(Finding $finding, string $what, callable $read): void
    {
        try {
            $read();
        } catch (InvalidArgumentException | OverflowException | ValueError | UnhandledMatchError $error) {
            $finding->fail("{$what}: {$error->getMessage()}");
        }
    }

    /** @param string $amount in 1e-10, of any length */
    private static function text(string $amount): string
    {
        return bcdiv($amount, '10000000000', Market::AMOUNT_SCALE);
    }
}
