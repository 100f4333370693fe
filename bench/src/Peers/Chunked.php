<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use WriteBuffer\Bench\Flow\Flow;

/** Collects the rows of a number of groups, each order and account once, and writes them at once. */
abstract class Chunked implements Peer
{
    private Books $books;
    /** @var array<string, bool> whether it is new, by the key of the books */
    private array $orders = [];
    /** @var array<string, true> */
    private array $changed = [];
    /** @var list<array<string, int|string>> */
    private array $trades = [];
    /** @var array<string, array<int, true>> */
    private array $accounts = [];
    /** @var array<string, array<string, true>> */
    private array $changedOfAccounts = [];
    private int $groups = 0;

    public function __construct(private readonly int $size)
    {
    }

    public function prepare(Flow $flow): void
    {
        $this->books = new Books($flow);
        $this->connect();
    }

    public function apply(array $group): void
    {
        foreach ($group as $row) {
            if ($row[0] === 'order') {
                $this->books->order($row[1], $row[2]);
                if (isset($row[2]['user_id'])) {
                    $this->orders["#{$row[1]}"] = true;
                } else {
                    $this->orders["#{$row[1]}"] ??= false;
                    $this->changed += $row[2];
                }
            } elseif ($row[0] === 'trade') {
                $this->trades[] = $row[1];
            } else {
                $this->books->balance($row[1], $row[2], $row[3]);
                $this->accounts[$row[2]][$row[1]] = true;
                $this->changedOfAccounts[$row[2]] = ($this->changedOfAccounts[$row[2]] ?? []) + $row[3];
            }
        }
        if (++$this->groups === $this->size) {
            $this->finish();
        }
    }

    public function finish(): void
    {
        if ($this->groups > 0) {
            [$new, $old] = [[], []];
            foreach ($this->orders as $key => $isNew) {
                $isNew ? $new[] = $this->books->orders[$key] : $old[] = $this->books->orders[$key];
            }
            $accounts = [];
            foreach ($this->accounts as $currency => $users) {
                $columns = ['id' => true] + $this->changedOfAccounts[$currency];
                foreach ($users as $user => $_) {
                    $accounts["spot_{$currency}_accounts"][] = array_intersect_key($this->books->balances[$currency][$user], $columns);
                }
            }
            $this->write($new, $old, array_keys($this->changed), $this->trades, $accounts);
        }
        $this->orders = $this->changed = $this->trades = $this->accounts = $this->changedOfAccounts = [];
        $this->groups = 0;
    }

    public function facts(): array
    {
        return [];
    }

    abstract protected function connect(): void;

    /**
     * Writes what is collected in one transaction.
     *
     * @param list<array<string, int|string|null>> $new orders
     * @param list<array<string, int|string|null>> $old orders that were there before, all columns
     * @param list<string> $changed columns of orders
     * @param list<array<string, int|string>> $trades
     * @param array<string, non-empty-list<array<string, int|string>>> $accounts by table: id and the columns that changed
     */
    abstract protected function write(array $new, array $old, array $changed, array $trades, array $accounts): void;
}
