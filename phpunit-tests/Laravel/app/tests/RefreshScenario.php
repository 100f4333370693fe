<?php

declare(strict_types=1);

namespace App\Tests;

use Illuminate\Contracts\Console\Kernel;
use Illuminate\Foundation\Testing\RefreshDatabase;
use Illuminate\Foundation\Testing\TestCase;
use Illuminate\Support\Facades\DB;
use WriteBuffer\Laravel\Facades\WriteBuffer;

require_once getenv('WRITE_BUFFER_APPLICATION') . '/bootstrap/autoload.php';

/** A feature test as an application has it; each of the two finds nothing of the other's rows. */
final class RefreshScenario extends TestCase
{
    use RefreshDatabase;

    /** Mockery is not among Debian's packages of Laravel. */
    public $mockConsoleOutput = false;

    public function createApplication()
    {
        $app = require getenv('WRITE_BUFFER_APPLICATION') . '/bootstrap/app.php';
        $app->make(Kernel::class)->bootstrap();
        return $app;
    }

    public function testRowsAreThere(): void
    {
        $this->addsOneRow();
    }

    public function testRowsOfTheOtherTestAreNot(): void
    {
        $this->addsOneRow();
    }

    private function addsOneRow(): void
    {
        self::assertSame(0, DB::table('order_transactions')->count());
        WriteBuffer::transaction(static fn ($buffer) => $buffer->addTrade(['price' => '1', 'quantity' => '1']));
        self::assertSame(1, DB::table('order_transactions')->count());
        self::assertTrue(WriteBuffer::flush()->isSuccess());
        self::assertTrue(DB::connection()->getSchemaBuilder()->hasTable('write_buffer_checkpoints'));
    }
}
