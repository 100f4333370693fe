<?php

declare(strict_types=1);

namespace App\Spot\Audit;

use Generator;
use Illuminate\Database\Connection;

/** Reads a whole table in pieces, by its key, so that no result set has to fit in memory. */
final class Rows
{
    private const PER_QUERY = 5_000;

    /**
     * @param list<string> $columns
     * @return Generator<int, array<string, mixed>>
     */
    public static function of(Connection $database, string $table, string $key, array $columns): Generator
    {
        $last = -1;

        do {
            $rows = $database->table($table)->select($columns)
                ->where($key, '>', $last)->orderBy($key)->limit(self::PER_QUERY)->get();

            foreach ($rows as $row) {
                $row = (array) $row;
                $last = (int) $row[$key];
                yield $row;
            }
        } while (count($rows) === self::PER_QUERY);
    }
}
