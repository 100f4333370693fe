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

    protected function write(array $new, array $old, array $changed, array $trades, array $accounts): void
    {
        $this->pdo->beginTransaction();
        $new === [] || Database::insert($this->pdo, 'orders', $new);
        $old === [] || $this->update('orders', $old, $changed);
        $trades === [] || Database::insert($this->pdo, 'order_transactions', $trades);
        foreach ($accounts as $table => $rows) {
            $this->update($table, $rows, array_keys(array_diff_key($rows[0], ['id' => true])));
        }
        $this->pdo->commit();
    }

    /**
     * @param non-empty-list<array<string, int|string|null>> $rows
     * @param list<string> $columns
     */
    private function update(string $table, array $rows, array $columns): void
    {
        $sets = [];
        foreach ($columns as $column) {
            $cases = '';
            foreach ($rows as $row) {
                $cases .= " WHEN {$row['id']} THEN " . $this->pdo->quote((string) $row[$column]);
            }
            $sets[] = "$column = CASE id$cases ELSE $column END";
        }
        $this->pdo->exec("UPDATE $table SET " . implode(', ', $sets) . ' WHERE id IN (' . implode(',', array_column($rows, 'id')) . ')');
    }
}
