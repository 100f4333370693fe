<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Database;

use Illuminate\Database\Connection;
use RuntimeException;

/**
 * write_buffer_checkpoints, exactly as the extension makes it where it may.
 */
final class CheckpointTable
{
    public const NAME = 'write_buffer_checkpoints';

    private const MYSQL = 'CREATE TABLE IF NOT EXISTS write_buffer_checkpoints ('
        . 'writer VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, '
        . 'sequence BIGINT UNSIGNED NOT NULL, '
        . 'durable TINYINT NOT NULL, '
        . 'updated_at BIGINT NOT NULL) ENGINE=InnoDB';
    private const SQLITE = 'CREATE TABLE IF NOT EXISTS write_buffer_checkpoints ('
        . 'writer TEXT NOT NULL PRIMARY KEY, sequence INTEGER NOT NULL, '
        . 'durable INTEGER NOT NULL, updated_at INTEGER NOT NULL)';

    public static function create(Connection $connection): void
    {
        $connection->statement($connection->getDriverName() === 'sqlite' ? self::SQLITE : self::MYSQL);
    }

    /** @throws RuntimeException when a journal depends on it */
    public static function drop(Connection $connection): void
    {
        if (!self::exists($connection)) {
            return;
        }
        $journals = $connection->selectOne('SELECT COUNT(*) AS n FROM write_buffer_checkpoints WHERE durable = 1', [], false)->n;
        if ((int) $journals > 0) {
            throw new RuntimeException(
                "$journals journal(s) have their checkpoint in write_buffer_checkpoints, and could not be recovered without it:"
                . ' stop the workers and run `php artisan write-buffer:flush` first.'
            );
        }
        $connection->statement('DROP TABLE write_buffer_checkpoints');
    }

    public static function exists(Connection $connection): bool
    {
        return Catalog::columns($connection, self::NAME) !== [];
    }
}
