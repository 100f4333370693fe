<?php

declare(strict_types=1);

use App\Spot\MoneyColumn;
use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class () extends Migration {
    public function up(): void
    {
        Schema::create('orders', static function (Blueprint $table): void {
            // The exchange's own order ids, about 2.0e15: beyond INT UNSIGNED, never generated here.
            $table->unsignedBigInteger('id')->primary();
            $table->unsignedBigInteger('original_id')->nullable();
            $table->unsignedInteger('user_id');
            $table->string('email')->nullable();
            $table->string('trade_type', 20);
            $table->string('currency', 20);
            $table->string('coin', 20);
            $table->string('type', 20);
            $table->string('status', 20);
            $table->boolean('ioc')->default(false);
            MoneyColumn::add($table, 'quantity');
            MoneyColumn::add($table, 'price')->nullable();
            MoneyColumn::add($table, 'executed_quantity')->default('0');
            MoneyColumn::add($table, 'executed_price')->default('0');
            MoneyColumn::add($table, 'base_price')->nullable();
            $table->string('stop_condition', 20)->nullable();
            // Fees taken from this order so far: a buy's in the coin, a sell's in the currency.
            MoneyColumn::add($table, 'fee')->default('0');
            MoneyColumn::add($table, 'reverse_price')->nullable();
            $table->unsignedSmallInteger('market_type')->default(0);
            // What a market buy locks, in the currency; nothing for every other order.
            MoneyColumn::add($table, 'budget')->nullable();
            // Number of the input event that placed the order: its place in the queue at its price.
            $table->unsignedBigInteger('event')->default(0);
            $table->unsignedBigInteger('created_at');
            $table->unsignedBigInteger('updated_at');

            $table->index(['user_id', 'status']);
            $table->index(['status', 'trade_type', 'currency', 'coin', 'price'], 'orders_book_index');
            $table->index(['status', 'currency', 'coin']);
            $table->index(['status', 'type']);
            $table->index(['status', 'created_at']);
            $table->index(['status', 'updated_at']);
            $table->index(['user_id', 'created_at']);
            $table->index('original_id');
            $table->index('status');
            $table->index('updated_at');
        });
    }

    public function down(): void
    {
        Schema::dropIfExists('orders');
    }
};
