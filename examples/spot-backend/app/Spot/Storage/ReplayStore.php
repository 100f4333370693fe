<?php

declare(strict_types=1);

namespace App\Spot\Storage;

use App\Spot\Decimal;
use App\Spot\Exchange;
use App\Spot\Market;
use App\Spot\Orders\KnownOrders;
use App\Spot\Orders\Order;
use App\Spot\Orders\OrderStatus;
use App\Spot\Worker\Progress;
use Closure;
use LogicException;

/**
 * The whole state of the exchange in memory, as the audit wants to find it in the database.
 *
 * An order that has reached a final status is packed into one string and may never be
 * written again.
 */
final class ReplayStore implements SpotStore, KnownOrders
{
    public const ORDER_COLUMNS = [
        'id', 'original_id', 'user_id', 'email', 'trade_type', 'currency', 'coin', 'type', 'status', 'ioc', 'quantity',
        'price', 'executed_quantity', 'executed_price', 'base_price', 'stop_condition', 'fee', 'reverse_price',
        'market_type', 'budget', 'event', 'created_at', 'updated_at',
    ];

    public const TRADE_COLUMNS = [
        'match_id', 'buy_order_id', 'sell_order_id', 'currency', 'coin', 'price', 'quantity', 'amount', 'btc_amount',
        'status', 'executed_date', 'buy_fee', 'sell_fee', 'transaction_type', 'buyer_id', 'buyer_email', 'seller_id',
        'seller_email', 'created_at',
    ];

    public const ACCOUNT_COLUMNS = ['id', 'balance', 'available_balance', 'usd_amount', 'created_at', 'updated_at'];

    public const REFUSAL_COLUMNS = ['market', 'event', 'position', 'order_id', 'reason', 'created_at'];

    private const SEPARATOR = "\x1f";
    private const DELTA_COLUMNS = ['balance', 'available_balance', 'usd_amount'];

    /** @var array<string, array<string, int|string|bool|null>> by Order::key() */
    private array $openOrders = [];

    /** @var array<string, string> packed, by Order::key() */
    private array $finalOrders = [];

    /** @var array<string, string> packed, by market and match id */
    private array $trades = [];

    /** @var array<string, string> packed, by market and event */
    private array $refusals = [];

    /** @var array<string, array<int, array<string, int>>> currency => user id => amounts in 1e-10, and updated_at */
    private array $accounts = [];

    /** Where the market that is replayed stood after its last step. */
    public ?Progress $reached = null;

    /** Steps of that market that are replayed. */
    public int $stepsMax = 0;

    public function __construct(private readonly Exchange $exchange)
    {
        foreach ($exchange->currencies() as $currency) {
            $deposit = $exchange->deposit($currency);
            $this->accounts[$currency] = array_fill(1, $exchange->users, [
                'balance' => $deposit,
                'available_balance' => $deposit,
                'usd_amount' => 0,
                'updated_at' => $exchange->openedAtMs,
            ]);
        }
    }

    /** @throws ReplayEnd */
    public function step(Progress $progress, int $atMs, ?Closure $write = null): void
    {
        if ($progress->steps >= $this->stepsMax) {
            throw new ReplayEnd();
        }

        $progress->steps++;
        $write === null || $write();
        $this->reached = clone $progress;
    }

    public function order(int $id, array $columns): void
    {
        $key = Order::key($id);

        if (isset($this->finalOrders[$key])) {
            throw new LogicException("the replay changes order {$id} after its final status");
        }

        $order = $columns + ($this->openOrders[$key] ?? ['id' => $id]);

        if (OrderStatus::from((string) $order['status'])->isFinal()) {
            $this->finalOrders[$key] = self::pack(self::ORDER_COLUMNS, $order);
            unset($this->openOrders[$key]);
        } else {
            $this->openOrders[$key] = $order;
        }
    }

    public function trade(array $columns): void
    {
        $this->trades["{$columns['currency']}_{$columns['coin']}#{$columns['match_id']}"] = self::pack(self::TRADE_COLUMNS, $columns);
    }

    public function balance(int $userId, string $currency, array $changes): void
    {
        $account = &$this->accounts[$currency][$userId];

        foreach (self::DELTA_COLUMNS as $column) {
            if (isset($changes[$column])) {
                $account[$column] = Decimal::sum($account[$column], Decimal::parse((string) $changes[$column], Market::AMOUNT_SCALE));
            }
        }

        $account['updated_at'] = (int) $changes['updated_at'];
    }

    public function refusal(array $columns): void
    {
        $this->refusals["{$columns['market']}#{$columns['event']}"] = self::pack(self::REFUSAL_COLUMNS, $columns);
    }

    public function pendingOrder(int $id): ?array
    {
        return null;
    }

    public function knownOrder(int $id): ?array
    {
        $key = Order::key($id);

        return isset($this->finalOrders[$key])
            ? self::unpack(self::ORDER_COLUMNS, $this->finalOrders[$key])
            : $this->openOrders[$key] ?? null;
    }

    public function isKnown(int $orderId): bool
    {
        return isset($this->finalOrders[Order::key($orderId)]) || isset($this->openOrders[Order::key($orderId)]);
    }

    /** Its order says it. */
    public function remember(int $orderId): void
    {
    }

    /** @return array<string, string> packed, by Order::key() */
    public function packedOrders(): array
    {
        return $this->finalOrders + array_map(
            static fn (array $order): string => self::pack(self::ORDER_COLUMNS, $order),
            $this->openOrders,
        );
    }

    /** @return array<string, string> packed, by market and match id */
    public function packedTrades(): array
    {
        return $this->trades;
    }

    /** @return array<string, string> packed, by market and event */
    public function packedRefusals(): array
    {
        return $this->refusals;
    }

    /**
     * @param list<string> $columns
     * @return array<string, string> packed, by Order::key() of the user id
     */
    public function packedAccounts(string $currency, array $columns): array
    {
        $packed = [];

        foreach ($this->accounts[$currency] as $userId => $account) {
            $row = ['id' => $userId, 'created_at' => $this->exchange->openedAtMs, 'updated_at' => $account['updated_at']];

            foreach (self::DELTA_COLUMNS as $column) {
                $row[$column] = Decimal::format($account[$column], Market::AMOUNT_SCALE);
            }

            $packed[Order::key($userId)] = self::pack($columns, $row);
        }

        return $packed;
    }

    /**
     * One text for one row, the same for every way a database writes its values.
     *
     * @param list<string> $columns
     * @param array<string, mixed> $row
     */
    public static function pack(array $columns, array $row): string
    {
        $values = [];

        foreach ($columns as $column) {
            $value = $row[$column] ?? null;
            $values[] = match (true) {
                $value === null => 'NULL',
                is_string($value) && is_numeric($value) => Decimal::canonical($value),
                default => (string) $value,
            };
        }

        return implode(self::SEPARATOR, $values);
    }

    /**
     * @param list<string> $columns
     * @return array<string, string>
     */
    public static function unpack(array $columns, string $packed): array
    {
        return array_combine($columns, explode(self::SEPARATOR, $packed));
    }
}
