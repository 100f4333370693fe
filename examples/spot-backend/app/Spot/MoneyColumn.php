<?php

declare(strict_types=1);

namespace App\Spot;

use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Fluent;

/**
 * A column that holds an exact decimal.
 *
 * MySQL and MariaDB: DECIMAL(30,10). SQLite has no decimals: a column declared DECIMAL has
 * numeric affinity and turns what it is given into a binary REAL, so that 0.1 + 0.2 is no
 * longer 0.3. A TEXT column keeps the digits as they were written; sums are then computed
 * by the writer of the extension, exactly, inside the write transaction.
 */
final class MoneyColumn
{
    /** @return Fluent<string, mixed> the column, to be made nullable or given a default */
    public static function add(Blueprint $table, string $name): Fluent
    {
        return DB::connection()->getDriverName() === 'sqlite'
            ? $table->text($name)
            : $table->decimal($name, 30, 10);
    }
}
