<?php

declare(strict_types=1);

namespace WriteBuffer\Sync;

use WriteBuffer\Exception\InvalidRowException;

/**
 * One row, one statement or two. What the database refuses is thrown to the caller.
 */
final class Statements
{
    public function __construct(private readonly Database $database)
    {
    }

    public function write(Declaration $table, Row $row): void
    {
        if ($table->mode === 'insert') {
            if ($table->unique === [] || !$this->hasUnique($table, $row)) {
                $this->insert($row);
            }
            return;
        }
        if ($this->change($table, $row)) {
            return;
        }
        if ($table->mode !== 'upsert' && $table->missing !== 'insert') {
            throw new InvalidRowException(
                "Table \"$table->name\": there is no row " . implode(', ', $row->key) . " in $row->table; create it first."
            );
        }
        $this->insert($row);
    }

    public function delete(Row $row): void
    {
        $this->database->execute(
            "DELETE FROM {$this->database->table($row->table)} WHERE " . self::condition($row->key),
            array_values($row->key)
        );
    }

    /** @return bool whether the row is there */
    private function change(Declaration $table, Row $row): bool
    {
        if ($row->deltas === [] || $this->database->isMySql()) {
            return $this->update($table, $row);
        }
        return $this->database->atomically(fn (): bool => $this->addHere($table, $row));
    }

    /** SQLite has no decimals: the sum is made here. */
    private function addHere(Declaration $table, Row $row): bool
    {
        $name = $this->database->table($row->table);
        $where = self::condition($row->key);
        $column = array_key_first($row->key);
        // This takes the write lock: what is read next stays true until the sum is stored.
        if ($this->database->execute("UPDATE $name SET `$column` = `$column` WHERE $where", array_values($row->key)) === 0) {
            return false;
        }
        $stored = $this->database->row("SELECT * FROM $name WHERE $where", array_values($row->key));
        $sums = [];
        foreach ($row->deltas as $delta => $amount) {
            $sums[$delta] = Decimal::sum(Decimal::plain((string) ($stored[$delta] ?? '0')) ?? '0', $amount);
        }
        return $this->update($table, new Row($row->table, $row->key, [], $sums + $row->values));
    }

    private function update(Declaration $table, Row $row): bool
    {
        $assignments = [];
        foreach ($row->columns() as $column => $value) {
            if (array_key_exists($column, $row->deltas)) {
                // A text in MySQL's arithmetic is a double: the amount must be cast.
                $assignments[] = "`$column` = COALESCE(`$column`, 0) + CAST(? AS DECIMAL(65,30))";
            } elseif (!array_key_exists($column, $row->key)) {
                $assignments[] = "`$column` = ?";
            }
        }
        $bindings = [...array_values($row->deltas), ...array_values($row->values), ...array_values($row->key)];
        $where = self::condition($row->key);
        if ($table->version !== null) {
            $where .= " AND (`$table->version` IS NULL OR `$table->version` <= ?)";
            $bindings[] = $row->values[$table->version];
        }
        $name = $this->database->table($row->table);
        if ($assignments !== [] && $this->database->execute("UPDATE $name SET " . implode(', ', $assignments) . " WHERE $where", $bindings) > 0) {
            return true;
        }
        // MySQL counts the rows that changed, not those that were found; and a newer version matches nothing.
        return $this->has($row->table, $row->key);
    }

    private function insert(Row $row): void
    {
        $values = $row->columns();
        $columns = implode(', ', array_map(static fn (string $c): string => "`$c`", array_keys($values)));
        $places = implode(', ', array_fill(0, count($values), '?'));
        $this->database->execute("INSERT INTO {$this->database->table($row->table)} ($columns) VALUES ($places)", array_values($values));
    }

    private function hasUnique(Declaration $table, Row $row): bool
    {
        return $this->has($row->table, array_intersect_key($row->columns(), array_flip($table->unique)));
    }

    /** @param array<string, int|float|string|null> $key */
    private function has(string $table, array $key): bool
    {
        $sql = "SELECT 1 FROM {$this->database->table($table)} WHERE " . self::condition($key);
        return $this->database->row($sql, array_values($key)) !== null;
    }

    /** @param array<string, mixed> $key */
    private static function condition(array $key): string
    {
        return implode(' AND ', array_map(static fn (string $c): string => "`$c` = ?", array_keys($key)));
    }
}
