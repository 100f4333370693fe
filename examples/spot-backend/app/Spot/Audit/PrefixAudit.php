<?php

declare(strict_types=1);

namespace App\Spot\Audit;

use App\Spot\AvailableFunds;
use App\Spot\EventProcessor;
use App\Spot\Input\BitstampFile;
use App\Spot\Input\Pricing;
use App\Spot\Input\UserHash;
use App\Spot\Market;
use App\Spot\Matching\OrderBook;
use App\Spot\Order;
use App\Spot\OrderService;
use App\Spot\Progress;
use App\Spot\Storage\ReplayStore;
use Illuminate\Database\Connection;

/**
 * The sixth statement: the database equals the state after a prefix of the input.
 *
 * The input is replayed in memory up to the event and the match that spot_progress names;
 * then every order, trade and account is compared, column by column.
 */
final class PrefixAudit
{
    private Finding $finding;

    public function __construct(
        private readonly Connection $database,
        private readonly Market $market,
        private readonly BitstampFile $file,
        private readonly Pricing $pricing,
    ) {
        $this->finding = new Finding(6, 'the database is the state after a prefix of the input');
    }

    public function run(Progress $reached): Finding
    {
        $replay = $this->replay($reached);
        $orders = $replay->packedOrders();
        $trades = $replay->packedTrades();

        $this->compare('orders', 'id', ReplayStore::ORDER_COLUMNS, $orders);
        $this->compare('order_transactions', 'match_id', ReplayStore::TRADE_COLUMNS, $trades);

        foreach ($this->market->currencies() as $currency) {
            $this->compare(
                $this->market->accountTable($currency),
                'id',
                ReplayStore::ACCOUNT_COLUMNS,
                $replay->packedAccounts($currency),
            );
        }

        $this->finding->seen = sprintf(
            '%d orders, %d trades, %d accounts after event %d, match %d',
            count($orders),
            count($trades),
            2 * $this->market->users,
            $reached->events,
            $reached->matchId,
        );

        return $this->finding;
    }

    private function replay(Progress $reached): ReplayStore
    {
        $store = new ReplayStore($this->market);
        $progress = new Progress($reached->market, $reached->input);
        $funds = new AvailableFunds();

        foreach ($this->market->currencies() as $currency) {
            $funds->load($currency, array_fill(1, $this->market->users, $this->market->deposits[$currency]));
        }

        $orders = new OrderService($this->market, $store, new OrderBook(), $funds, $progress);
        $orders->lastMatchId = $reached->matchId;
        $processor = new EventProcessor($orders, $progress, new UserHash($this->market->users), $this->pricing);

        if ($reached->events > 0) {
            foreach ($this->file->events() as $number => $event) {
                $processor->apply($number, $event);

                if ($number === $reached->events) {
                    break;
                }
            }
        }

        if ($progress->events !== $reached->events || $progress->matchId !== $reached->matchId) {
            $this->finding->fail("spot_progress names event {$reached->events} and match {$reached->matchId}, "
                . "the replay got to event {$progress->events} and match {$progress->matchId}");
        }

        return $store;
    }

    /**
     * @param list<string> $columns
     * @param array<string, string> $wanted packed rows by Order::key() of their id
     */
    private function compare(string $table, string $key, array $columns, array $wanted): void
    {
        foreach (Rows::of($this->database, $table, $key, $columns) as $row) {
            $id = (int) $row[$key];
            $place = Order::key($id);
            $packed = ReplayStore::pack($columns, $row);

            if (!isset($wanted[$place])) {
                $this->finding->fail("{$table} {$id} should not be there");
            } elseif ($wanted[$place] !== $packed) {
                $this->finding->fail("{$table} {$id}: " . self::difference($columns, $packed, $wanted[$place]));
            }

            unset($wanted[$place]);
        }

        foreach (array_keys($wanted) as $place) {
            $this->finding->fail("{$table} " . Order::idOfKey($place) . ' is missing');
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
