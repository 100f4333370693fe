<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use PDO;
use PDOStatement;
use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Flow\Flow;

/** One transaction a match, with statements prepared once: what the exchange did. */
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
                'order' => $this->run('UPDATE orders SET ' . self::list($row[2], '%s = ?') . ' WHERE id = ?', [...array_values($row[2]), $row[1]]),
                'trade' => $this->run('INSERT INTO order_transactions (' . self::list($row[1], '%s') . ') VALUES (' . self::list($row[1], '?') . ')', array_values($row[1])),
                'balance' => $this->run("UPDATE spot_{$row[2]}_accounts SET " . self::list($row[3], '%1$s = %1$s + ?') . ' WHERE id = ?', [...array_values($row[3]), $row[1]]),
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

    /** @param list<int|string> $values */
    private function run(string $sql, array $values): void
    {
        ($this->statements[$sql] ??= $this->pdo->prepare($sql))->execute($values);
    }

    /** @param array<string, mixed> $columns */
    private static function list(array $columns, string $form): string
    {
        return implode(', ', array_map(static fn (string $name): string => sprintf($form, $name), array_keys($columns)));
    }
}
