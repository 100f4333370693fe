<?php

declare(strict_types=1);

use App\Spot\Exchange;
use App\Spot\MoneyColumn;
use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class () extends Migration {
    public function up(): void
    {
        foreach (app(Exchange::class)->accountTables() as $name) {
            Schema::create($name, static function (Blueprint $table): void {
                // The user's id. Unique, not primary: as it is on the exchange this comes from.
                $table->unsignedInteger('id')->unique();
                MoneyColumn::add($table, 'balance')->default('0');
                MoneyColumn::add($table, 'available_balance')->default('0');
                MoneyColumn::add($table, 'usd_amount')->default('0');
                $table->unsignedBigInteger('created_at');
                $table->unsignedBigInteger('updated_at');
            });
        }
    }

    public function down(): void
    {
        foreach (app(Exchange::class)->accountTables() as $name) {
            Schema::dropIfExists($name);
        }
    }
};
