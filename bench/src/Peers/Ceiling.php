<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use mysqli;
use mysqli_stmt;
use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Flow\Flow;

/**
 * What the server takes from a loader that costs nothing: the net rows of batches of a given size,
 * merged and made into statements before the clock starts, one transaction a batch, sent without
 * a pause. It keeps no checkpoint, and after a failure it would not know what was written.
 */
final class Ceiling implements Peer
{
    private const INSERT = 'insert';
    private const REPLACE = 'replace';
    private const ADD = 'add';

    private mysqli $connection;
    /** @var list<list<array{0: string, 1: string, 2: list<string>, 3: list<list<int|string>>}>> */
    private array $batches = [];
    /** @var array<string, mysqli_stmt> */
    private array $statements = [];
    private string $directory = '';

    /** @param 'text'|'prepared'|'load-data' $form */
    public function __construct(private readonly string $form, private readonly int $size)
    {
    }

    public function prepare(Flow $flow): void
    {
        $this->form === 'load-data' && Database::allowLocalInfile();
        $this->connection = Database::mysqli();
        // As the writer does: fewer locks.
        $this->connection->query('SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED');
        $groups = [];
        foreach ($flow->groups() as $group) {
            $groups[] = $group;
            if (count($groups) === $this->size) {
                $this->batches[] = $this->steps($groups);
                $groups = [];
            }
        }
        $groups === [] || $this->batches[] = $this->steps($groups);
        if ($this->form === 'load-data') {
            $this->stage();
        }
    }

    public function apply(array $group): void
    {
    }

    public function finish(): void
    {
        foreach ($this->batches as $steps) {
            if ($this->form === 'load-data') {
                // The protocol has no place for a file among several statements.
                foreach ($steps as $sql) {
                    $this->connection->query($sql);
                }
            } elseif ($this->form === 'prepared') {
                $this->connection->begin_transaction();
                foreach ($steps as [$sql, $values]) {
                    ($this->statements[$sql] ??= $this->connection->prepare($sql))->execute($values);
                }
                $this->connection->commit();
            } else {
                $this->connection->multi_query($steps);
                while ($this->connection->more_results()) {
                    $this->connection->next_result();
                }
            }
        }
    }

    public function facts(): array
    {
        if ($this->directory !== '') {
            array_map(unlink(...), glob("$this->directory/*") ?: []);
            rmdir($this->directory);
        }

        return ['batches' => count($this->batches)];
    }

    /**
     * @param list<list<array{0: string, 1: mixed, 2?: mixed, 3?: mixed}>> $groups
     * @return mixed what `finish` sends
     */
    private function steps(array $groups): mixed
    {
        [$orders, $trades, $accounts, $changed] = [[], [], [], []];
        foreach ($groups as $group) {
            foreach ($group as $row) {
                if ($row[0] === 'order') {
                    $orders[$row[1]] = array_merge($orders[$row[1]] ?? ['id' => $row[1]], $row[2]);
                } elseif ($row[0] === 'trade') {
                    $trades[] = $row[1];
                } else {
                    $table = "spot_{$row[2]}_accounts";
                    $changed[$table] = ($changed[$table] ?? []) + $row[3];
                    foreach ($row[3] as $column => $change) {
                        $account = &$accounts[$table][$row[1]][$column];
                        $account = is_int($change) ? $change : bcadd($account ?? '0', $change, 10);
                        unset($account);
                    }
                }
            }
        }
        ksort($orders);
        $parts = [];
        // Orders of one list of columns share a statement; new ones have a list of their own.
        $byColumns = [];
        foreach ($orders as $order) {
            $byColumns[implode(',', array_keys($order))][] = $order;
        }
        foreach ($byColumns as $rows) {
            $parts[] = ['orders', isset($rows[0]['user_id']) ? self::INSERT : self::REPLACE, $rows];
        }
        $trades === [] || $parts[] = ['order_transactions', self::INSERT, $trades];
        ksort($accounts);
        foreach ($accounts as $table => $rows) {
            ksort($rows);
            $none = array_fill_keys(array_keys($changed[$table]), '0');
            $parts[] = [$table, self::ADD, array_map(static fn (int $id, array $row): array => ['id' => $id] + array_merge($none, $row), array_keys($rows), $rows)];
        }

        return match ($this->form) {
            'text' => 'START TRANSACTION;' . implode(';', $this->chunked($parts, $this->text(...))) . ';COMMIT',
            'prepared' => $this->chunked($parts, $this->prepared(...)),
            'load-data' => ['START TRANSACTION', ...array_merge(...array_map($this->loaded(...), $parts)), 'COMMIT'],
        };
    }

    /**
     * @param list<array{0: string, 1: string, 2: list<array<string, int|string|null>>}> $parts
     * @return list<mixed>
     */
    private function chunked(array $parts, callable $make): array
    {
        $made = [];
        foreach ($parts as [$table, $form, $rows]) {
            foreach (array_chunk($rows, 2_000) as $chunk) {
                $made[] = $make([$table, $form, $chunk]);
            }
        }

        return $made;
    }

    /** @param array{0: string, 1: string, 2: list<array<string, int|string|null>>} $part */
    private function text(array $part): string
    {
        [$table, $form, $rows] = $part;
        // Sums in quotes would be sums of floats.
        $literal = fn (int|string|null $value): string => match (true) {
            $value === null => 'NULL',
            is_int($value), $form === self::ADD => (string) $value,
            default => "'" . $this->connection->real_escape_string($value) . "'",
        };
        $tuples = array_map(static fn (array $row): string => '(' . implode(',', array_map($literal, $row)) . ')', $rows);

        return self::statement($table, $form, array_keys($rows[0]), $tuples);
    }

    /**
     * @param array{0: string, 1: string, 2: list<array<string, int|string|null>>} $part
     * @return array{0: string, 1: list<int|string|null>}
     */
    private function prepared(array $part): array
    {
        [$table, $form, $rows] = $part;
        $columns = array_keys($rows[0]);
        $place = static fn (string $column): string => $form === self::ADD && in_array($column, Flow::AMOUNTS, true) ? 'CAST(? AS DECIMAL(30,10))' : '?';
        $tuple = '(' . implode(',', array_map($place, $columns)) . ')';

        return [self::statement($table, $form, $columns, array_fill(0, count($rows), $tuple)), array_merge(...array_map(array_values(...), $rows))];
    }

    /**
     * @param list<string> $columns
     * @param list<string> $tuples
     */
    private static function statement(string $table, string $form, array $columns, array $tuples): string
    {
        $list = implode(',', $columns);

        return $form === self::INSERT
            ? "INSERT INTO $table ($list) VALUES " . implode(',', $tuples)
            : 'UPDATE (VALUES ROW' . implode(',ROW', $tuples) . ") AS v($list) STRAIGHT_JOIN $table t ON t.id = v.id SET " . self::sets($columns, $form);
    }

    /** @param list<string> $columns */
    private static function sets(array $columns, string $form): string
    {
        $set = static fn (string $column): string => $form === self::ADD && in_array($column, Flow::AMOUNTS, true)
            ? "t.$column = t.$column + v.$column"
            : "t.$column = v.$column";

        return implode(',', array_map($set, array_diff($columns, ['id'])));
    }

    /** Tables for LOAD DATA to fill, and for updates to be taken from. */
    private function stage(): void
    {
        foreach (['orders', 'spot_usd_accounts', 'spot_btc_accounts'] as $table) {
            $this->connection->query("CREATE TEMPORARY TABLE staged_$table LIKE $table");
            foreach ($this->connection->query("SHOW INDEX FROM staged_$table")->fetch_all(MYSQLI_ASSOC) as $index) {
                $doomed[$table][$index['Key_name']] = true;
            }
            foreach (array_keys($doomed[$table] ?? []) as $index) {
                $this->connection->query("ALTER TABLE staged_$table DROP " . ($index === 'PRIMARY' ? 'PRIMARY KEY' : "INDEX `$index`"));
            }
            $this->connection->query("ALTER TABLE staged_$table ADD PRIMARY KEY (id)");
            foreach ($this->connection->query("SHOW COLUMNS FROM staged_$table")->fetch_all(MYSQLI_ASSOC) as $column) {
                if ($column['Field'] !== 'id') {
                    $this->connection->query("ALTER TABLE staged_$table MODIFY `{$column['Field']}` {$column['Type']} NULL");
                }
            }
        }
    }

    /**
     * @param array{0: string, 1: string, 2: list<array<string, int|string>>} $part
     * @return list<string>
     */
    private function loaded(array $part): array
    {
        [$table, $form, $rows] = $part;
        if ($this->directory === '') {
            $this->directory = sys_get_temp_dir() . '/write-buffer-bench-' . bin2hex(random_bytes(6));
            mkdir($this->directory, 0700);
        }
        static $files = 0;
        $file = sprintf('%s/%d', $this->directory, $files++);
        $line = static fn (array $row): string => implode("\t", array_map(static fn (int|string|null $value): int|string => $value ?? '\N', $row));
        file_put_contents($file, implode("\n", array_map($line, $rows)) . "\n");
        $columns = array_keys($rows[0]);
        $list = implode(',', $columns);
        if ($form === self::INSERT) {
            return ["LOAD DATA LOCAL INFILE '$file' INTO TABLE $table ($list)"];
        }

        return [
            "LOAD DATA LOCAL INFILE '$file' INTO TABLE staged_$table ($list)",
            "UPDATE staged_$table v STRAIGHT_JOIN $table t ON t.id = v.id SET " . self::sets($columns, $form),
            "DELETE FROM staged_$table",
        ];
    }
}
