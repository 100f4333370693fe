<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use PDO;
use PDOStatement;
use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Flow\Flow;

/** One transaction a group, with statements prepared once: what the exchange did. */
final class PdoPerMatch implements Peer
{
    private PDO $pdo;
    /** @var array<string, PDOStatement> */
    private array $statements = [];

    public function prepare(Flow $flow): void
    {
        $this->pdo = Database::pdo();
    }

    public function apply(array $group): void
    {
        $this->pdo->beginTransaction();
        foreach ($group as $row) {
            match ($row[0]) {
                'order' => isset($row[2]['user_id']) ? $this->insert('orders', ['id' => $row[1]] + $row[2]) : $this->run('UPDATE orders SET ' . self::list($row[2], '%s = ?') . ' WHERE id = ?', [...array_values($row[2]), $row[1]]),
                'trade' => $this->insert('order_transactions', $row[1]),
                'balance' => $this->run("UPDATE spot_{$row[2]}_accounts SET " . self::changes($row[3]) . ' WHERE id = ?', [...array_values($row[3]), $row[1]]),
            };
        }
        $this->pdo->commit();
    }

    public function finish(): void
    {
    }

    public function facts(): array
    {
        return [];
    }

    /** @param array<string, int|string|null> $columns */
    private function insert(string $table, array $columns): void
    {
        $this->run("INSERT INTO $table (" . self::list($columns, '%s') . ') VALUES (' . self::list($columns, '?') . ')', array_values($columns));
    }

    /** @param list<int|string|null> $values */
    private function run(string $sql, array $values): void
    {
        ($this->statements[$sql] ??= $this->pdo->prepare($sql))->execute($values);
    }

    /** @param array<string, int|string> $changes */
    private static function changes(array $changes): string
    {
        $set = static fn (string $column): string => in_array($column, Flow::AMOUNTS, true) ? "$column = $column + ?" : "$column = ?";

        return implode(', ', array_map($set, array_keys($changes)));
    }

    /** @param array<string, mixed> $columns */
    private static function list(array $columns, string $form): string
    {
        return implode(', ', array_map(static fn (string $name): string => sprintf($form, $name), array_keys($columns)));
    }
}
