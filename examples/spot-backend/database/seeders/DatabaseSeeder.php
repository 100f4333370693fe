<?php

declare(strict_types=1);

namespace Database\Seeders;

use App\Spot\Decimal;
use App\Spot\Exchange;
use App\Spot\Market;
use Illuminate\Database\Seeder;
use Illuminate\Support\Facades\DB;

/** Opens both accounts of every user with the deposit of config/spot.php. */
final class DatabaseSeeder extends Seeder
{
    /** SQLite before 3.32 takes 999 parameters in one statement; a row has six. */
    private const ROWS_PER_INSERT = 150;

    public function run(Exchange $exchange): void
    {
        foreach ($exchange->currencies() as $currency) {
            $deposit = Decimal::format($exchange->deposit($currency), Market::AMOUNT_SCALE);

            foreach (array_chunk(range(1, $exchange->users), self::ROWS_PER_INSERT) as $ids) {
                DB::table(Exchange::accountTable($currency))->insert(array_map(static fn (int $id): array => [
                    'id' => $id,
                    'balance' => $deposit,
                    'available_balance' => $deposit,
                    'usd_amount' => '0',
                    'created_at' => $exchange->openedAtMs,
                    'updated_at' => $exchange->openedAtMs,
                ], $ids));
            }
        }
    }
}
