<?php

declare(strict_types=1);

use App\Spot\MoneyColumn;
use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class () extends Migration {
    public function up(): void
    {
        Schema::create('order_transactions', static function (Blueprint $table): void {
            $table->bigIncrements('id');
            // Made by the matcher of the market: 1, 2, 3 … without a gap.
            $table->unsignedBigInteger('match_id');
            $table->unsignedBigInteger('buy_order_id')->index();
            $table->unsignedBigInteger('sell_order_id')->index();
            $table->string('currency', 20);
            $table->string('coin', 20);
            MoneyColumn::add($table, 'price');
            MoneyColumn::add($table, 'quantity');
            MoneyColumn::add($table, 'amount');
            MoneyColumn::add($table, 'btc_amount');
            $table->string('status', 20);
            $table->date('executed_date');
            MoneyColumn::add($table, 'buy_fee');
            MoneyColumn::add($table, 'sell_fee');
            // The side of the taker.
            $table->string('transaction_type', 20);
            $table->unsignedInteger('buyer_id');
            $table->string('buyer_email')->nullable();
            $table->unsignedInteger('seller_id');
            $table->string('seller_email')->nullable();
            $table->unsignedBigInteger('created_at');

            // A trade written twice is refused here.
            $table->unique(['currency', 'coin', 'match_id'], 'order_transactions_match_unique');
            $table->index(['buyer_id', 'created_at']);
            $table->index(['seller_id', 'created_at']);
        });
    }

    public function down(): void
    {
        Schema::dropIfExists('order_transactions');
    }
};
