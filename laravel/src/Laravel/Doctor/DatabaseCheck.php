<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Doctor;

use Illuminate\Database\Connection;
use Illuminate\Database\DatabaseManager;
use Throwable;
use WriteBuffer\Exception\WriteBufferException;
use WriteBuffer\Laravel\BufferSettings;
use WriteBuffer\Laravel\Database\Catalog;
use WriteBuffer\Laravel\Database\CheckpointTable;
use WriteBuffer\Sync\Declaration;

/**
 * A buffer's connection, the checkpoint table and the declared tables with their keys.
 */
final class DatabaseCheck implements Check
{
    public function __construct(private readonly BufferSettings $settings, private readonly DatabaseManager $databases)
    {
    }

    public function findings(): iterable
    {
        $subject = "database of {$this->settings->name}";
        if (!$this->settings->hasConnection()) {
            yield Finding::note($subject, 'given by `dsn` alone, so that it is not looked at; name its `connection`, too, for checks, table prefix and sticky reads');
            return;
        }
        try {
            $connection = $this->settings->connection();
            $dsn = $connection->dsn();
            $connection->session();
            $database = $this->databases->connection($connection->name);
            $database->getPdo();
        } catch (WriteBufferException $error) {
            yield Finding::fault($subject, $error->getMessage());
            return;
        } catch (Throwable $error) {
            yield Finding::fault($subject, "connection [{$this->settings->connectionName()}] does not connect: {$error->getMessage()}; correct it in config/database.php");
            return;
        }
        yield Finding::ok($subject, "connection [$connection->name], " . preg_replace('~//[^/]*@~', '//', $dsn));
        if (!$connection->isStrict()) {
            yield Finding::fault($subject, "connection [$connection->name] is not strict: the application's own writes cut what is too long, and WriteBuffer refuses it;"
                . ' set `strict` to true, or add STRICT_TRANS_TABLES to `modes`');
        }
        if ($connection->hasInitCommand()) {
            yield Finding::note($subject, 'MYSQL_ATTR_INIT_COMMAND is not run by the writer; put what it sets in the buffer\'s `session`');
        }
        yield from $this->schema($database, $connection->prefix());
    }

    /** @return iterable<Finding> */
    private function schema(Connection $database, string $prefix): iterable
    {
        $subject = "schema of {$this->settings->name}";
        yield CheckpointTable::exists($database)
            ? Finding::ok($subject, 'write_buffer_checkpoints is there')
            : Finding::fault($subject, 'table write_buffer_checkpoints is missing; run `php artisan migrate`');
        try {
            $tables = $this->settings->declarations()->all();
        } catch (WriteBufferException $error) {
            yield Finding::fault($subject, $error->getMessage());
            return;
        }
        // The predeclared ones concern only who declares them.
        foreach (array_intersect_key($tables, $this->settings->tables()) as $table) {
            yield from $this->table($database, $table, $prefix . $table->table);
        }
    }

    /** @return iterable<Finding> */
    private function table(Connection $database, Declaration $table, string $target): iterable
    {
        $subject = "table $table->name";
        $pattern = (string) preg_replace('/\{[^}]*\}/', '%', $target);
        $found = $pattern === $target ? [$target] : Catalog::tablesLike($database, $pattern);
        if ($found === []) {
            yield Finding::note($subject, "no table is named like $target yet");
        }
        foreach ($found as $name) {
            $columns = Catalog::columns($database, $name);
            $needed = [...array_values($table->key), ...$table->delta, ...$table->unique, ...array_filter([$table->version])];
            $missing = array_diff($needed, $columns);
            $key = array_values($table->identity());
            yield match (true) {
                $columns === [] => Finding::fault($subject, "there is no table $name; create it by a migration, or set `table` in the declaration"),
                $missing !== [] => Finding::fault($subject, "$name has no column " . implode(', ', $missing) . '; correct the declaration or the table'),
                $key !== [] && !self::isUnique($key, Catalog::uniqueKeys($database, $name)) =>
                    Finding::fault($subject, "$name has no unique index of exactly " . implode(', ', $key) . '; add one by a migration'),
                default => Finding::ok($subject, $name),
            };
        }
    }

    /**
     * @param list<string> $key
     * @param list<list<string>> $unique
     */
    private static function isUnique(array $key, array $unique): bool
    {
        sort($key);
        foreach ($unique as $columns) {
            sort($columns);
            if ($columns === $key) {
                return true;
            }
        }
        return false;
    }
}
