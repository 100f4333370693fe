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
            $table->string('market', 20);
            $table->string('input', 100);
            $table->unsignedBigInteger('events');
            $table->unsignedBigInteger('match_id');
            $table->unsignedBigInteger('updated_at');

            $table->primary(['market', 'input']);
        });
    }

    public function down(): void
    {
        Schema::dropIfExists('spot_progress');
    }
};
