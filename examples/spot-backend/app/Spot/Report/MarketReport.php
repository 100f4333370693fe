<?php

declare(strict_types=1);

namespace App\Spot\Report;

use App\Spot\Audit\Rows;
use App\Spot\Decimal;
use App\Spot\Market;
use Illuminate\Database\Connection;

/** Fills, volumes and top accounts of one market, summed exactly: in text, never in a float. */
final class MarketReport
{
    private const ZERO = '0.0000000000';

    /** @var array<int, array{trades: int, turnover: string}> by user id */
    private array $accounts = [];

    private int $trades = 0;
    private ?string $first = null;
    private ?string $last = null;
    private ?string $high = null;
    private ?string $low = null;

    /** @var array{volume: string, turnover: string, buy_fees: string, sell_fees: string} */
    private array $sums = ['volume' => self::ZERO, 'turnover' => self::ZERO, 'buy_fees' => self::ZERO, 'sell_fees' => self::ZERO];

    public function __construct(
        private readonly Connection $database,
        private readonly Market $market,
    ) {
    }

    /** @return array<string, mixed> */
    public function run(int $top): array
    {
        $columns = ['id', 'currency', 'coin', 'price', 'quantity', 'amount', 'buy_fee', 'sell_fee', 'buyer_id', 'seller_id'];

        foreach (Rows::of($this->database, 'order_transactions', 'id', $columns) as $row) {
            if ([$row['currency'], $row['coin']] === $this->market->currencies()) {
                $this->add($row);
            }
        }

        return [
            'market' => $this->market->key(),
            'currency' => $this->market->currency,
            'coin' => $this->market->coin,
            'worker' => $this->worker(),
            'orders' => $this->orders(),
            'trades' => $this->trades,
            ...$this->sums,
            'first_price' => $this->first,
            'last_price' => $this->last,
            'high' => $this->high,
            'low' => $this->low,
            'top_accounts' => $this->top($top),
            'refusals' => $this->refusals(),
        ];
    }

    /** @param array<string, mixed> $row */
    private function add(array $row): void
    {
        $price = Decimal::canonical((string) $row['price']);
        $this->trades++;
        $this->first ??= $price;
        $this->last = $price;
        $this->high = $this->high === null || bccomp($price, $this->high, Market::AMOUNT_SCALE) > 0 ? $price : $this->high;
        $this->low = $this->low === null || bccomp($price, $this->low, Market::AMOUNT_SCALE) < 0 ? $price : $this->low;

        foreach (['volume' => 'quantity', 'turnover' => 'amount', 'buy_fees' => 'buy_fee', 'sell_fees' => 'sell_fee'] as $sum => $column) {
            $this->sums[$sum] = bcadd($this->sums[$sum], (string) $row[$column], Market::AMOUNT_SCALE);
        }

        // A user who trades with himself has done so once.
        foreach (array_unique([(int) $row['buyer_id'], (int) $row['seller_id']]) as $userId) {
            $account = $this->accounts[$userId] ?? ['trades' => 0, 'turnover' => self::ZERO];
            $this->accounts[$userId] = [
                'trades' => $account['trades'] + 1,
                'turnover' => bcadd($account['turnover'], (string) $row['amount'], Market::AMOUNT_SCALE),
            ];
        }
    }

    /** @return list<array{user_id: int, trades: int, turnover: string}> */
    private function top(int $top): array
    {
        uasort($this->accounts, static fn (array $a, array $b): int => bccomp($b['turnover'], $a['turnover'], Market::AMOUNT_SCALE));
        $accounts = array_slice($this->accounts, 0, $top, true);

        return array_map(
            static fn (int $userId, array $account): array => ['user_id' => $userId] + $account,
            array_keys($accounts),
            $accounts,
        );
    }

    /** @return array<string, int> number of orders by status */
    private function orders(): array
    {
        return array_map('intval', $this->database->table('orders')
            ->where('currency', $this->market->currency)->where('coin', $this->market->coin)
            ->groupBy('status')->orderBy('status')->selectRaw('status, count(*) AS orders')->pluck('orders', 'status')->all());
    }

    /** @return array<string, mixed>|null */
    private function worker(): ?array
    {
        $row = $this->database->table('spot_progress')->where('market', $this->market->key())->first();

        return $row === null ? null : [
            'input' => $row->input,
            'events' => (int) $row->events,
            'epoch' => (int) $row->epoch,
            'owner' => $row->owner,
        ];
    }

    /** @return array<string, mixed> how many, and the last of them */
    private function refusals(): array
    {
        $refusals = $this->database->table('spot_refusals')->where('market', $this->market->key());

        return [
            'count' => $refusals->count(),
            'last' => $refusals->orderByDesc('event')->limit(5)->get(['event', 'position', 'order_id', 'reason'])
                ->map(static fn (object $row): array => ['event' => (int) $row->event] + (array) $row)->all(),
        ];
    }
}
