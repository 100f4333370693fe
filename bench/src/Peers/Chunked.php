<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use WriteBuffer\Bench\Flow\Flow;

/** Collects the rows of a number of matches, each order and account once, and writes them at once. */
abstract class Chunked implements Peer
{
    protected Books $books;
    /** @var array<int, true> */
    protected array $orders = [];
    /** @var list<array<string, mixed>> */
    protected array $trades = [];
    /** @var array<string, array<int, true>> */
    protected array $accounts = [];
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
                $this->orders[$row[1]] = true;
            } elseif ($row[0] === 'trade') {
                $this->trades[] = $row[1];
            } else {
                $this->books->balance($row[1], $row[2], $row[3]);
                $this->accounts[$row[2]][$row[1]] = true;
            }
        }
        if (++$this->groups === $this->size) {
            $this->finish();
        }
    }

    public function finish(): void
    {
        if ($this->groups > 0) {
            $this->write();
        }
        $this->orders = $this->trades = $this->accounts = [];
        $this->groups = 0;
    }

    public function facts(): array
    {
        return [];
    }

    abstract protected function connect(): void;

    /** Writes what is collected in one transaction. */
    abstract protected function write(): void;
}
