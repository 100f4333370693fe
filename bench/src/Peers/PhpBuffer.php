<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use PDO;
use Throwable;
use WriteBuffer\Bench\Database;

/**
 * The buffer in PHP that this extension replaces, written anew from its description: maps of
 * pending orders and balances, a list of trades, and a flush of the caller's when shouldFlush()
 * says so. As there, deltas are summed by bcadd with 18 digits.
 */
final class PhpBuffer
{
    /** @var array<int, array<string, mixed>> */
    private array $orders = [];
    /** @var list<array<string, mixed>> */
    private array $trades = [];
    /** @var array<string, array{user: int, currency: string, amounts: array<string, int|string>}> */
    private array $balances = [];
    private float $lastFlush;

    public function __construct(
        private readonly ?PDO $pdo,
        private readonly int $maxBufferSize = 100,
        private readonly int $flushIntervalMs = 500,
        private readonly int $maxRetries = 3,
    ) {
        $this->lastFlush = microtime(true);
    }

    /** @param array<string, mixed> $data */
    public function addOrder(int $orderId, array $data): void
    {
        $this->orders[$orderId] = isset($this->orders[$orderId]) ? array_merge($this->orders[$orderId], $data) : $data;
    }

    /** @param array<string, mixed> $data */
    public function addTrade(array $data): void
    {
        $this->trades[] = $data;
    }

    /** @param array<string, int|string> $changes */
    public function addBalanceUpdate(int $userId, string $currency, array $changes): void
    {
        $key = "$currency:$userId";
        if (!isset($this->balances[$key])) {
            $this->balances[$key] = ['user' => $userId, 'currency' => $currency, 'amounts' => $changes];

            return;
        }
        foreach ($changes as $column => $change) {
            if (is_int($change)) {
                // A time, no amount.
                $this->balances[$key]['amounts'][$column] = $change;
                continue;
            }
            $this->balances[$key]['amounts'][$column] = bcadd($this->balances[$key]['amounts'][$column] ?? '0', $change, 18);
        }
    }

    public function shouldFlush(): bool
    {
        $count = count($this->orders) + count($this->trades) + count($this->balances);

        return $count >= $this->maxBufferSize || $count > 0 && (microtime(true) - $this->lastFlush) * 1_000 >= $this->flushIntervalMs;
    }

    public function flush(): void
    {
        for ($attempt = 1;; $attempt++) {
            try {
                $this->write();
                break;
            } catch (Throwable $error) {
                $this->pdo->inTransaction() && $this->pdo->rollBack();
                if ($attempt >= $this->maxRetries) {
                    throw $error;
                }
                usleep(10_000 << $attempt);
            }
        }
        $this->orders = $this->trades = $this->balances = [];
        $this->lastFlush = microtime(true);
    }

    private function write(): void
    {
        $this->pdo->beginTransaction();
        foreach (array_chunk($this->orders, 500, true) as $orders) {
            $new = array_filter($orders, static fn (array $order): bool => isset($order['user_id']));
            $new === [] || Database::insert($this->pdo, 'orders', array_map(static fn (int $id, array $order): array => ['id' => $id] + $order, array_keys($new), $new));
            $changed = array_diff_key($orders, $new);
            $changed === [] || $this->update('orders', $changed);
        }
        foreach (array_chunk($this->trades, 500) as $trades) {
            Database::insert($this->pdo, 'order_transactions', $trades);
        }
        $byTable = [];
        foreach ($this->balances as $balance) {
            $byTable["spot_{$balance['currency']}_accounts"][$balance['user']] = $balance['amounts'];
        }
        foreach ($byTable as $table => $accounts) {
            $this->update($table, $accounts, true);
        }
        $this->pdo->commit();
    }

    /** @param array<int, array<string, mixed>> $rows */
    private function update(string $table, array $rows, bool $adds = false): void
    {
        $cases = [];
        foreach ($rows as $id => $row) {
            foreach ($row as $column => $value) {
                // Quoted, a sum would be one of floats.
                $cases[$column] = ($cases[$column] ?? '') . " WHEN $id THEN " . match (true) {
                    is_int($value) => (string) $value,
                    $adds => "$column + ($value)",
                    default => $this->pdo->quote($value),
                };
            }
        }
        $sets = [];
        foreach ($cases as $column => $whens) {
            $sets[] = "$column = CASE id$whens ELSE $column END";
        }
        $this->pdo->exec("UPDATE $table SET " . implode(', ', $sets) . ' WHERE id IN (' . implode(',', array_keys($rows)) . ')');
    }
}
