<?php

declare(strict_types=1);

namespace Database\Seeders;

use App\Spot\Decimal;
use App\Spot\Market;
use Illuminate\Database\Seeder;
use Illuminate\Support\Facades\DB;

/** Opens both accounts of every user with the deposit of config/spot.php. */
final class DatabaseSeeder extends Seeder
{
    /** SQLite before 3.32 takes 999 parameters in one statement; a row has six. */
    private const ROWS_PER_INSERT = 150;

    public function run(Market $market): void
    {
        foreach ($market->currencies() as $currency) {
            $deposit = Decimal::format($market->deposits[$currency], Market::AMOUNT_SCALE);

            foreach (array_chunk(range(1, $market->users), self::ROWS_PER_INSERT) as $ids) {
                DB::table($market->accountTable($currency))->insert(array_map(static fn (int $id): array => [
                    'id' => $id,
                    'balance' => $deposit,
                    'available_balance' => $deposit,
                    'usd_amount' => '0',
                    'created_at' => $market->openedAtMs,
                    'updated_at' => $market->openedAtMs,
                ], $ids));
            }
        }
    }
}
