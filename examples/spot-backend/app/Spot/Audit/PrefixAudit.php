<?php

declare(strict_types=1);

namespace App\Spot\Audit;

use App\Spot\Decimal;
use App\Spot\Exchange;
use App\Spot\Funds\MarketFunds;
use App\Spot\Funds\OwnFunds;
use App\Spot\Funds\RecordedFunds;
use App\Spot\Input\CommandAction;
use App\Spot\Input\Entry;
use App\Spot\Input\Input;
use App\Spot\Input\OrderCommand;
use App\Spot\Market;
use App\Spot\Matching\OrderBook;
use App\Spot\Orders\Order;
use App\Spot\Orders\OrderService;
use App\Spot\Orders\OrderStatus;
use App\Spot\Orders\OrderType;
use App\Spot\Orders\Side;
use App\Spot\Storage\Columns;
use App\Spot\Storage\ReplayEnd;
use App\Spot\Storage\ReplayStore;
use App\Spot\Worker\CommandProcessor;
use App\Spot\Worker\Progress;
use Closure;
use Illuminate\Database\Connection;

/**
 * The sixth statement: the database equals the state after a prefix of each market's input.
 *
 * The inputs are replayed in memory up to the step that spot_progress names; then every order,
 * trade, account and refusal is compared, column by column. Markets are replayed one after the
 * other: what they do to shared accounts adds up to the same in any order.
 */
final class PrefixAudit
{
    private const ENTRIES_PER_READ = 1_000;

    private Finding $finding;

    /** @var array<string, array<string, mixed>> orders that are `new`, by Order::key(): their entries are still to come */
    private array $reserved = [];

    public function __construct(
        private readonly Connection $database,
        private readonly Exchange $exchange,
    ) {
        $this->finding = new Finding(6, 'the database is the state after a prefix of the input');
    }

    /**
     * @param array<string, Progress> $reached by market
     * @param array<string, Input> $inputs by market
     */
    public function run(array $reached, array $inputs): Finding
    {
        $store = new ReplayStore($this->exchange);
        $this->lockNewOrders($store);

        foreach ($reached as $key => $progress) {
            $this->replay($store, $this->exchange->market($key), $progress, $inputs[$key]);
        }

        foreach ($this->reserved as $order) {
            $this->finding->fail("funds are reserved for order {$order['id']} of {$order['currency']}_{$order['coin']}, which does not come in its input");
        }

        $orders = $store->packedOrders();
        $trades = $store->packedTrades();
        $this->compare('orders', 'id', ReplayStore::ORDER_COLUMNS, $orders, static fn (array $row): string => Order::key((int) $row['id']));
        $this->compare(
            'order_transactions',
            'id',
            ReplayStore::TRADE_COLUMNS,
            $trades,
            static fn (array $row): string => "{$row['currency']}_{$row['coin']}#{$row['match_id']}",
        );
        $this->compare(
            'spot_refusals',
            'id',
            ReplayStore::REFUSAL_COLUMNS,
            $store->packedRefusals(),
            static fn (array $row): string => "{$row['market']}#{$row['event']}",
        );

        foreach ($this->exchange->currencies() as $currency) {
            $this->compareAccounts($store, $currency);
        }

        $this->finding->seen = sprintf('%d orders, %d trades, %d accounts after ', count($orders), count($trades), count($this->exchange->currencies()) * $this->exchange->users)
            . implode(', ', array_map(
                static fn (Progress $progress): string => "event {$progress->events} and match {$progress->matchId} of {$progress->market}",
                $reached,
            ));

        return $this->finding;
    }

    private function replay(ReplayStore $store, Market $market, Progress $reached, Input $input): void
    {
        $progress = new Progress($reached->market, $reached->input, $reached->epoch);
        $store->reached = clone $progress;
        $store->stepsMax = $reached->steps;
        $orders = new OrderService($market, $store, new OrderBook(), $this->funds($market), $progress);
        $processor = new CommandProcessor($orders, $progress, $input->hasUniqueIds() ? null : $store);
        $input->open($progress);

        $isReached = false;

        while ((!$isReached || $this->reserved !== []) && ($entries = $input->read(self::ENTRIES_PER_READ)) !== null) {
            foreach ($entries as $entry) {
                $isReached = $isReached || !$this->isApplied($processor, $entry);
                $isReached && $this->findReserved($market, $entry);
            }
        }

        $found = $store->reached;

        foreach (['events', 'position', 'matchId', 'steps'] as $what) {
            if ($found->$what !== $reached->$what) {
                $this->finding->fail("spot_progress names {$what} {$reached->$what} of {$market->key()}, the replay got to {$found->$what}");
            }
        }
    }

    private function isApplied(CommandProcessor $processor, Entry $entry): bool
    {
        try {
            $processor->apply($entry);

            return true;
        } catch (ReplayEnd) {
            // The step after the last one.
            return false;
        }
    }

    private function findReserved(Market $market, Entry $entry): void
    {
        $command = $entry->content;
        $found = $command instanceof OrderCommand ? $this->reserved[Order::key($command->orderId)] ?? null : null;

        if ($found !== null && $command->action === CommandAction::Place) {
            // Its number and its budget are known when its turn comes, or depend on what others did.
            $columns = array_values(array_diff(ReplayStore::ORDER_COLUMNS, ['event', 'budget']));
            $wanted = ['id' => $command->orderId] + Columns::newOrder($market, CommandProcessor::order($command, 0), OrderStatus::New);

            if (ReplayStore::pack($columns, $found) === ReplayStore::pack($columns, $wanted)) {
                unset($this->reserved[Order::key($command->orderId)]);
            }
        }
    }

    private function funds(Market $market): MarketFunds
    {
        $shared = array_values(array_filter($market->currencies(), $this->exchange->isShared(...)));
        $own = new OwnFunds($market);

        foreach (array_diff($market->currencies(), $shared) as $currency) {
            $own->load($currency, array_fill(1, $this->exchange->users, $this->exchange->deposit($currency)));
        }

        return new MarketFunds($market, $own, new RecordedFunds($this->exchange->users, $shared === [] ? [] : $this->decisions($market)), $shared);
    }

    /** @return array<string, array{string, string|null}> */
    private function decisions(Market $market): array
    {
        $decisions = [];

        foreach (Rows::of($this->database, 'orders', 'id', ['id', 'currency', 'coin', 'status', 'budget']) as $row) {
            if ([$row['currency'], $row['coin']] === $market->currencies()) {
                $decisions[Order::key((int) $row['id'])] = [(string) $row['status'], $row['budget'] === null ? null : (string) $row['budget']];
            }
        }

        return $decisions;
    }

    /** Funds that are reserved for orders that their market had not consumed yet. */
    private function lockNewOrders(ReplayStore $store): void
    {
        foreach ($this->database->table('orders')->where('status', OrderStatus::New->value)->cursor() as $row) {
            $this->reserved[Order::key((int) $row->id)] = (array) $row;
            $side = Side::from($row->trade_type);
            $lock = $row->type === OrderType::Market->value && $side === Side::Buy
                ? Decimal::parse((string) $row->budget, Market::AMOUNT_SCALE)
                : Order::lockOf(
                    $side,
                    $row->price === null ? 0 : Decimal::parse((string) $row->price, Market::PRICE_SCALE),
                    Decimal::parse((string) $row->quantity, Market::QUANTITY_SCALE),
                );
            $store->balance((int) $row->user_id, $side === Side::Buy ? $row->currency : $row->coin, [
                'available_balance' => Decimal::format(-$lock, Market::AMOUNT_SCALE),
                'updated_at' => 0,
            ]);
        }
    }

    /** When a shared account changed last depends on which market came last. */
    private function compareAccounts(ReplayStore $store, string $currency): void
    {
        $columns = $this->exchange->isShared($currency)
            ? array_values(array_diff(ReplayStore::ACCOUNT_COLUMNS, ['updated_at']))
            : ReplayStore::ACCOUNT_COLUMNS;

        $this->compare(
            Exchange::accountTable($currency),
            'id',
            $columns,
            $store->packedAccounts($currency, $columns),
            static fn (array $row): string => Order::key((int) $row['id']),
        );
    }

    /**
     * @param list<string> $columns
     * @param array<string, string> $wanted packed rows by their place
     * @param Closure(array<string, mixed>): string $placeOf
     */
    private function compare(string $table, string $key, array $columns, array $wanted, Closure $placeOf): void
    {
        foreach (Rows::of($this->database, $table, $key, array_unique([$key, ...$columns])) as $row) {
            $place = $placeOf($row);
            $packed = ReplayStore::pack($columns, $row);

            if (!isset($wanted[$place])) {
                // An order that is `new` is before its market, not behind it.
                if ($table !== 'orders' || $row['status'] !== OrderStatus::New->value) {
                    $this->finding->fail("{$table} {$place} should not be there");
                }
            } elseif ($wanted[$place] !== $packed) {
                $this->finding->fail("{$table} {$place}: " . self::difference($columns, $packed, $wanted[$place]));
            }

            unset($wanted[$place]);
        }

        foreach (array_keys($wanted) as $place) {
            $this->finding->fail("{$table} {$place} is missing");
        }
    }

    /** @param list<string> $columns */
    private static function difference(array $columns, string $found, string $wanted): string
    {
        $found = ReplayStore::unpack($columns, $found);
        $wanted = ReplayStore::unpack($columns, $wanted);
        $differences = [];

        foreach (array_diff_assoc($found, $wanted) as $column => $value) {
            $differences[] = "{$column} {$value} instead of {$wanted[$column]}";
        }

        return implode(', ', $differences);
    }
}
