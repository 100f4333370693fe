<?php

declare(strict_types=1);

namespace WriteBuffer\Sync;

use Illuminate\Database\ConnectionInterface;
use PDO;
use WriteBuffer\Exception\ConfigurationException;

/**
 * The application's own connection, Laravel's or a bare PDO, with groups inside its transaction.
 */
final class Database
{
    private int $savepoints = 0;

    private readonly string $driver;

    /** @throws ConfigurationException */
    public function __construct(private readonly ConnectionInterface|PDO $connection)
    {
        $this->driver = (string) ($connection instanceof PDO ? $connection->getAttribute(PDO::ATTR_DRIVER_NAME) : $connection->getDriverName());
        if (!in_array($this->driver, ['mysql', 'mariadb', 'sqlite'], true)) {
            throw new ConfigurationException("The connection has the driver [$this->driver], and WriteBuffer writes to mysql, mariadb and sqlite: give another one.");
        }
    }

    /** @param list<mixed> $bindings */
    public function execute(string $sql, array $bindings): int
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
    public function row(string $sql, array $bindings): ?array
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

    /** A table's name with the connection's prefix, quoted. */
    public function table(string $name): string
    {
        $prefix = $this->connection instanceof PDO ? '' : $this->connection->getTablePrefix();
        return "`$prefix$name`";
    }

    public function isMySql(): bool
    {
        return $this->driver !== 'sqlite';
    }

    /** A transaction, or a savepoint in the one that the application has open. */
    public function begin(): void
    {
        if ($this->connection instanceof ConnectionInterface) {
            $this->connection->beginTransaction();
        } elseif ($this->connection->inTransaction()) {
            $this->connection->exec('SAVEPOINT write_buffer_' . ++$this->savepoints);
        } else {
            $this->connection->beginTransaction();
        }
    }

    public function commit(): void
    {
        if ($this->connection instanceof PDO && $this->savepoints > 0) {
            $this->connection->exec('RELEASE SAVEPOINT write_buffer_' . $this->savepoints--);
        } else {
            $this->connection->commit();
        }
    }

    public function rollBack(): void
    {
        if ($this->connection instanceof PDO && $this->savepoints > 0) {
            $this->connection->exec('ROLLBACK TO SAVEPOINT write_buffer_' . $this->savepoints);
            $this->connection->exec('RELEASE SAVEPOINT write_buffer_' . $this->savepoints--);
        } else {
            $this->connection->rollBack();
        }
    }

    /**
     * @template T
     * @param callable(): T $act
     * @return T
     */
    public function atomically(callable $act): mixed
    {
        $this->begin();
        try {
            $result = $act();
        } catch (\Throwable $error) {
            $this->rollBack();
            throw $error;
        }
        $this->commit();
        return $result;
    }
}
