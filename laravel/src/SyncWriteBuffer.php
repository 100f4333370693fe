<?php

declare(strict_types=1);

namespace WriteBuffer;

use Illuminate\Database\ConnectionInterface;
use PDO;
use WriteBuffer\Exception\InvalidRowException;

/**
 * A buffer that holds nothing: each row is written at once, through the application's own
 * connection and so inside its transaction. What the database refuses is thrown to the
 * caller. Amounts are added exactly, as the native buffer does.
 */
final class SyncWriteBuffer implements WriteBufferInterface
{
    private const DELTAS = ['balance', 'available_balance', 'usd_amount'];
    /** Digits a DECIMAL(65,30) keeps behind the point. */
    private const SCALE = 30;

    /** @var array{orders: int, trades: int, balances: int} rows written since the last flush */
    private array $written = ['orders' => 0, 'trades' => 0, 'balances' => 0];
    /** @var array{orders: int, trades: int, balances: int} rows written before that */
    private array $reported = ['orders' => 0, 'trades' => 0, 'balances' => 0];
    private int $flushes = 0;
    private float $writeMs = 0.0;
    private float $writeMsTotal = 0.0;

    public function __construct(private readonly ConnectionInterface|PDO $connection)
    {
    }

    public function addOrder(int $orderId, array $data): void
    {
        unset($data['id']);
        $this->write('orders', function () use ($orderId, $data): void {
            $values = self::values('orders', $data);
            if (!$this->update('orders', $orderId, self::assignments($values), array_values($values))) {
                $this->insert('orders', ['id' => $orderId] + $values);
            }
        });
    }

    public function addTrade(array $data): void
    {
        $this->write('trades', fn () => $this->insert('order_transactions', self::values('trades', $data)));
    }

    public function addBalanceUpdate(int $userId, string $currency, array $changes): void
    {
        unset($changes['user_id'], $changes['currency']);
        $table = "spot_{$currency}_accounts";
        self::assertIdentifier('balances', 'currency', $currency);
        self::assertIdentifier('balances', 'currency', $table);
        $values = self::values('balances', $changes);
        if ($values === []) {
            throw new InvalidRowException('Table "balances": the row changes nothing; give a column beside the key.');
        }
        $this->write('balances', function () use ($table, $userId, $values): void {
            $found = $this->isMySql()
                ? $this->addInDatabase($table, $userId, $values)
                : $this->addHere($table, $userId, $values);
            if (!$found) {
                throw new InvalidRowException("Table \"balances\": there is no row $userId in $table; create the account first.");
            }
        });
    }

    /** Reports what was written since the last call: nothing is ever left to write. */
    public function flush(): FlushResult
    {
        $result = new FlushResult(
            $this->written['orders'],
            $this->written['trades'],
            $this->written['balances'],
            $this->writeMs
        );
        if ($result->getTotalWritten() > 0) {
            $this->flushes++;
            $this->writeMsTotal += $this->writeMs;
        }
        foreach ($this->written as $table => $rows) {
            $this->reported[$table] += $rows;
            $this->written[$table] = 0;
        }
        $this->writeMs = 0.0;
        return $result;
    }

    public function shouldFlush(): bool
    {
        return false;
    }

    /**
     * @return array{
     *     buffer: array{orders: int, trades: int, balances: int, total: int},
     *     config: array{max_buffer_size: int, flush_interval_ms: int, max_retries: int},
     *     totals: array{orders_written: int, trades_written: int, balances_written: int, flushes: int,
     *         avg_flush_duration_ms: float}
     * }
     */
    public function getStats(): array
    {
        return [
            'buffer' => ['orders' => 0, 'trades' => 0, 'balances' => 0, 'total' => 0],
            'config' => ['max_buffer_size' => 1, 'flush_interval_ms' => 0, 'max_retries' => 0],
            'totals' => [
                'orders_written' => $this->reported['orders'] + $this->written['orders'],
                'trades_written' => $this->reported['trades'] + $this->written['trades'],
                'balances_written' => $this->reported['balances'] + $this->written['balances'],
                'flushes' => $this->flushes,
                'avg_flush_duration_ms' => $this->flushes === 0 ? 0.0 : $this->writeMsTotal / $this->flushes,
            ],
        ];
    }

    /** Nothing is pending, so nothing is discarded. */
    public function clear(): void
    {
    }

    private function write(string $table, callable $write): void
    {
        $start = hrtime(true);
        $write();
        $this->writeMs += (hrtime(true) - $start) / 1e6;
        $this->written[$table]++;
    }

    /** @param array<string, mixed> $values */
    private function insert(string $table, array $values): void
    {
        $columns = implode(', ', array_map(static fn (string $c): string => "`$c`", array_keys($values)));
        $places = implode(', ', array_fill(0, count($values), '?'));
        $this->execute("INSERT INTO `$table` ($columns) VALUES ($places)", array_values($values));
    }

    /**
     * @param list<string> $assignments
     * @param list<mixed> $bindings
     * @return bool whether the row is there
     */
    private function update(string $table, int $id, array $assignments, array $bindings): bool
    {
        $sql = "UPDATE `$table` SET " . implode(', ', $assignments) . ' WHERE `id` = ?';
        if ($assignments !== [] && $this->execute($sql, [...$bindings, $id]) > 0) {
            return true;
        }
        // MySQL counts the rows that changed, not those that were found.
        return $this->row("SELECT 1 FROM `$table` WHERE `id` = ?", [$id]) !== null;
    }

    /**
     * A text in MySQL's arithmetic is a double: the amount must be cast.
     *
     * @param array<string, mixed> $values
     */
    private function addInDatabase(string $table, int $id, array $values): bool
    {
        $assign = static fn (string $column): string => in_array($column, self::DELTAS, true)
            ? "`$column` = COALESCE(`$column`, 0) + CAST(? AS DECIMAL(65,30))"
            : "`$column` = ?";
        return $this->update($table, $id, array_map($assign, array_keys($values)), array_values($values));
    }

    /**
     * SQLite has no decimals: the sum is made here.
     *
     * @param array<string, mixed> $values
     */
    private function addHere(string $table, int $id, array $values): bool
    {
        return $this->atomically(function () use ($table, $id, $values): bool {
            // This takes the write lock: what is read next stays true until the sum is stored.
            if ($this->execute("UPDATE `$table` SET `id` = `id` WHERE `id` = ?", [$id]) === 0) {
                return false;
            }
            $row = $this->row("SELECT * FROM `$table` WHERE `id` = ?", [$id]);
            foreach (array_intersect(self::DELTAS, array_keys($values)) as $column) {
                $before = self::decimal((string) ($row[$column] ?? '0')) ?? '0';
                $values[$column] = self::trimmed(bcadd($before, $values[$column], self::SCALE));
            }
            return $this->update($table, $id, self::assignments($values), array_values($values));
        });
    }

    private function atomically(callable $act): bool
    {
        if ($this->connection instanceof ConnectionInterface) {
            return $this->connection->transaction(static fn (): bool => $act());
        }
        if ($this->connection->inTransaction()) {
            return $act();
        }
        $this->connection->beginTransaction();
        try {
            $result = $act();
            $this->connection->commit();
            return $result;
        } catch (\Throwable $error) {
            $this->connection->rollBack();
            throw $error;
        }
    }

    /** @param list<mixed> $bindings */
    private function execute(string $sql, array $bindings): int
    {
        if ($this->connection instanceof ConnectionInterface) {
            return $this->connection->affectingStatement($sql, $bindings);
        }
        $statement = $this->connection->prepare($sql);
        $statement->execute($bindings);
        return $statement->rowCount();
    }

    /**
     * @param list<mixed> $bindings
     * @return array<string, mixed>|null
     */
    private function row(string $sql, array $bindings): ?array
    {
        if ($this->connection instanceof ConnectionInterface) {
            // Not from a replica: it may not have what this very transaction wrote.
            $row = $this->connection->selectOne($sql, $bindings, false);
            return $row === null ? null : (array) $row;
        }
        $statement = $this->connection->prepare($sql);
        $statement->execute($bindings);
        $rows = $statement->fetchAll(PDO::FETCH_ASSOC);
        return $rows[0] ?? null;
    }

    private function isMySql(): bool
    {
        $driver = $this->connection instanceof PDO
            ? $this->connection->getAttribute(PDO::ATTR_DRIVER_NAME)
            : $this->connection->getDriverName();
        return in_array($driver, ['mysql', 'mariadb'], true);
    }

    /**
     * @param array<string, mixed> $values
     * @return list<string>
     */
    private static function assignments(array $values): array
    {
        return array_map(static fn (string $column): string => "`$column` = ?", array_keys($values));
    }

    /**
     * The row as the database takes it; amounts of balances as plain decimals.
     *
     * @param array<mixed> $row
     * @return array<string, mixed>
     */
    private static function values(string $table, array $row): array
    {
        $values = [];
        foreach ($row as $column => $value) {
            self::assertIdentifier($table, (string) $column, $column);
            $values[$column] = $table === 'balances' && in_array($column, self::DELTAS, true)
                ? self::delta($table, $column, $value)
                : self::value($table, $column, $value);
        }
        return $values;
    }

    private static function value(string $table, string $column, mixed $value): int|float|string|null
    {
        return match (true) {
            is_bool($value) => (int) $value,
            is_float($value) && !is_finite($value) => throw self::refused($table, $column, "$value is no number a database can hold"),
            $value === null, is_scalar($value) => $value,
            $value instanceof \DateTimeInterface => preg_replace('/\.000000$/', '', $value->format('Y-m-d H:i:s.u')),
            $value instanceof \BackedEnum => $value->value,
            $value instanceof \Stringable => (string) $value,
            default => throw self::refused($table, $column, 'a value of type ' . get_debug_type($value) . ' cannot be written'),
        };
    }

    private static function delta(string $table, string $column, mixed $value): string
    {
        $given = get_debug_type($value);
        $value = is_bool($value) ? null : self::value($table, $column, $value);
        $plain = is_int($value) || is_string($value) ? self::decimal((string) $value) : null;
        return $plain
            ?? throw self::refused($table, $column, "no amount that can be added ($given); give an int or a decimal string");
    }

    /** The number without an exponent, as bcmath takes it; null if it is none or too long. */
    private static function decimal(string $text): ?string
    {
        if (!preg_match('/^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/D', $text, $part) || "$part[2]" . ($part[3] ?? '') === '') {
            return null;
        }
        $fraction = $part[3] ?? '';
        $digits = $part[2] . $fraction;
        $point = strlen($part[2]) + (int) ($part[4] ?? 0);
        if (abs($point) > 10_000) {
            return null;
        }
        $digits = str_repeat('0', max(0, -$point)) . str_pad($digits, max(0, $point), '0');
        $whole = ltrim(substr($digits, 0, max(0, $point)), '0');
        $rest = rtrim(substr($digits, max(0, $point)), '0');
        if (strlen($whole . $rest) > 65 || strlen($rest) > self::SCALE) {
            return null;
        }
        return ($part[1] === '-' ? '-' : '') . ($whole === '' ? '0' : $whole) . ($rest === '' ? '' : ".$rest");
    }

    private static function trimmed(string $decimal): string
    {
        return str_contains($decimal, '.') ? rtrim(rtrim($decimal, '0'), '.') : $decimal;
    }

    private static function assertIdentifier(string $table, string $column, int|string $name): void
    {
        if (!is_string($name) || !preg_match('/^[A-Za-z0-9_]{1,64}$/D', $name)) {
            $shown = substr((string) json_encode($name, JSON_INVALID_UTF8_SUBSTITUTE), 0, 80);
            throw self::refused($table, $column, "$shown is no column or table name; use 1 to 64 of A-Z, a-z, 0-9 and _");
        }
    }

    private static function refused(string $table, string $column, string $why): InvalidRowException
    {
        return new InvalidRowException("Table \"$table\", column \"$column\": $why.");
    }
}
