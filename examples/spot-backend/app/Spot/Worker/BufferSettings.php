<?php

declare(strict_types=1);

namespace App\Spot\Worker;

use InvalidArgumentException;

/** What the extension is told: where to write, and which tables there are. */
final class BufferSettings
{
    /**
     * orders, trades and balances are predeclared by the extension; these are ours.
     *
     * `epoch` is in the key of the progress: a group of a worker that was fenced finds no row to
     * update, and so the database refuses all of it.
     */
    public const TABLES = [
        'spot_refusals' => ['mode' => 'insert'],
        'spot_progress' => ['mode' => 'update', 'key' => ['market', 'epoch']],
    ];

    /** @param array<string, mixed> $connection a connection of config/database.php */
    public static function dsn(array $connection): string
    {
        return match ($connection['driver']) {
            'sqlite' => self::sqlite((string) $connection['database']),
            'mysql', 'mariadb' => self::mysql($connection),
            default => throw new InvalidArgumentException(
                "WriteBuffer writes to MySQL, MariaDB and SQLite, not to '{$connection['driver']}': set DB_CONNECTION.",
            ),
        };
    }

    private static function sqlite(string $path): string
    {
        if (!str_starts_with($path, '/')) {
            throw new InvalidArgumentException("DB_DATABASE has to be an absolute path for SQLite, not '{$path}'.");
        }

        return 'sqlite://' . implode('/', array_map(rawurlencode(...), explode('/', $path)));
    }

    /** @param array<string, mixed> $connection */
    private static function mysql(array $connection): string
    {
        $socket = (string) ($connection['unix_socket'] ?? '');

        return sprintf(
            'mysql://%s:%s@%s:%d/%s%s',
            rawurlencode((string) $connection['username']),
            rawurlencode((string) $connection['password']),
            $connection['host'],
            $connection['port'],
            rawurlencode((string) $connection['database']),
            $socket === '' ? '' : '?socket=' . rawurlencode($socket),
        );
    }
}
