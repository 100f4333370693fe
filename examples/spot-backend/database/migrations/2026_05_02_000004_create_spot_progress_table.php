<?php

declare(strict_types=1);

use Illuminate\Database\Migrations\Migration;
use Illuminate\Database\Schema\Blueprint;
use Illuminate\Support\Facades\Schema;

return new class () extends Migration {
    public function up(): void
    {
        // Written in the same atomic group as what it describes, so it is never ahead of or
        // behind the orders, trades and accounts.
        Schema::create('spot_progress', static function (Blueprint $table): void {
            $table->string('market', 20)->primary();
            $table->string('input', 100);
            // How often the market was taken over. A worker of an earlier epoch writes nothing.
            $table->unsignedBigInteger('epoch');
            $table->string('owner', 100)->nullable();
            // The name of that worker's buffer, until all of it is written.
            $table->string('buffer', 100)->nullable();
            $table->unsignedBigInteger('beat_at');
            $table->unsignedBigInteger('events')->default(0);
            $table->string('position', 50)->default('');
            $table->unsignedBigInteger('match_id')->default(0);
            $table->unsignedBigInteger('steps')->default(0);
            // The row's own number in its writer's buffer: says which rows a reader sees.
            $table->unsignedBigInteger('sequence')->default(0);
            $table->unsignedBigInteger('updated_at');

            $table->unique(['market', 'epoch']);
        });

        Schema::create('spot_refusals', static function (Blueprint $table): void {
            $table->bigIncrements('id');
            $table->string('market', 20);
            $table->unsignedBigInteger('event');
            $table->string('position', 50);
            $table->unsignedBigInteger('order_id')->nullable()->index();
            $table->string('reason');
            $table->unsignedBigInteger('created_at');

            $table->unique(['market', 'event']);
        });
    }

    public function down(): void
    {
        Schema::dropIfExists('spot_refusals');
        Schema::dropIfExists('spot_progress');
    }
};
