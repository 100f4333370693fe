<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use PDO;
use WriteBuffer\Bench\Database;

/** One `UPDATE … SET column = CASE id WHEN … END` a table, as the bulk update packages build it. */
final class BulkCase extends Chunked
{
    private PDO $pdo;

    protected function connect(): void
    {
        $this->pdo = Database::pdo(true);
    }

    protected function write(): void
    {
        $this->pdo->beginTransaction();
        $this->update('orders', array_intersect_key($this->books->orders, $this->orders), ['status', 'executed_quantity', 'executed_price', 'fee', 'updated_at']);
        $this->trades === [] || Database::insert($this->pdo, 'order_transactions', $this->trades);
        foreach ($this->accounts as $currency => $users) {
            $this->update("spot_{$currency}_accounts", array_intersect_key($this->books->balances[$currency], $users), ['balance', 'available_balance']);
        }
        $this->pdo->commit();
    }

    /**
     * @param array<int, array<string, int|string>> $rows
     * @param list<string> $columns
     */
    private function update(string $table, array $rows, array $columns): void
    {
        $sets = [];
        foreach ($columns as $column) {
            $cases = '';
            foreach ($rows as $id => $row) {
                $cases .= " WHEN $id THEN " . $this->pdo->quote((string) $row[$column]);
            }
            $sets[] = "$column = CASE id$cases ELSE $column END";
        }
        $this->pdo->exec("UPDATE $table SET " . implode(', ', $sets) . ' WHERE id IN (' . implode(',', array_keys($rows)) . ')');
    }
}
