<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Database;

use Illuminate\Database\Connection;

/**
 * What a database says of its tables, alike for all versions of Laravel. Names are whole:
 * no prefix is put before them.
 */
final class Catalog
{
    /** @return list<string> column names; none when there is no such table */
    public static function columns(Connection $connection, string $table): array
    {
        $rows = $connection->getDriverName() === 'sqlite'
            ? $connection->select('SELECT name FROM pragma_table_info(?)', [$table], false)
            : $connection->select(
                'SELECT COLUMN_NAME AS name FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?',
                [$connection->getDatabaseName(), $table],
                false
            );
        return array_map(static fn (object $row): string => $row->name, $rows);
    }

    /** @return list<list<string>> the columns of each unique index, the primary key among them */
    public static function uniqueKeys(Connection $connection, string $table): array
    {
        $rows = $connection->getDriverName() === 'sqlite' ? $connection->select(
            "SELECT '' AS `index`, name AS `column` FROM pragma_table_info(?) WHERE pk > 0 UNION ALL"
            . ' SELECT l.name, i.name FROM pragma_index_list(?) AS l, pragma_index_info(l.name) AS i WHERE l.`unique`',
            [$table, $table],
            false
        ) : $connection->select(
            'SELECT INDEX_NAME AS `index`, COLUMN_NAME AS `column` FROM information_schema.STATISTICS'
            . ' WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX',
            [$connection->getDatabaseName(), $table],
            false
        );
        $keys = [];
        foreach ($rows as $row) {
            $keys[$row->index][] = $row->column;
        }
        return array_values($keys);
    }

    /**
     * @param string $pattern with % for what is filled in
     * @return list<string>
     */
    public static function tablesLike(Connection $connection, string $pattern): array
    {
        $like = strtr($pattern, ['_' => '!_']);
        $rows = $connection->getDriverName() === 'sqlite'
            ? $connection->select("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE ? ESCAPE '!'", [$like], false)
            : $connection->select(
                "SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME LIKE ? ESCAPE '!'",
                [$connection->getDatabaseName(), $like],
                false
            );
        return array_map(static fn (object $row): string => $row->name, $rows);
    }
}
