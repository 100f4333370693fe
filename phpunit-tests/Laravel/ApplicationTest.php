<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel;

use ReflectionClass;
use WriteBuffer\Laravel\BufferSettings;
use WriteBuffer\Laravel\Testing\RecordingBuffer;
use WriteBuffer\SyncWriteBuffer;
use WriteBuffer\Tests\Laravel\Support\LaravelTestCase;

/**
 * The library as an application meets it.
 */
final class ApplicationTest extends LaravelTestCase
{
    public function testRefreshDatabaseRollsRowsBack(): void
    {
        $phpunit = (string) (realpath((string) $_SERVER['argv'][0]) ?: '/usr/bin/phpunit');
        $database = "{$this->application->directory}/database/testing.sqlite";
        touch($database);
        file_put_contents(
            "{$this->application->directory}/database/migrations/2026_01_02_000000_create_order_transactions_table.php",
            '<?php return new class extends Illuminate\Database\Migrations\Migration { public function up() { Illuminate\Support\Facades\Schema::create('
            . '"order_transactions", function ($table) { $table->id(); $table->string("price"); $table->string("quantity"); }); } };'
        );
        $config = ['database.connections.main' => ['driver' => 'sqlite', 'database' => $database, 'prefix' => '']];
        $process = $this->application->php(
            [$phpunit, '--no-configuration', 'tests/RefreshScenario.php'],
            ['APP_ENV' => 'testing', 'TEST_CONFIG' => (string) json_encode($config)]
        );
        $process->wait();
        self::assertSame(0, $process->getExitCode(), $process->getOutput() . $process->getErrorOutput());
        self::assertMatchesRegularExpression('/\(2 tests|Tests: 2,/', $process->getOutput());
    }

    public function testEveryOptionOfTheExtensionCanBeConfigured(): void
    {
        self::needsExtension();
        $this->boot();
        preg_match_all('/^ +\*     (\w+)\?: /m', (string) file_get_contents(__DIR__ . '/../../php-stubs/write_buffer.stub.php'), $options);
        $known = array_unique($options[1]);
        self::assertContains('drain_timeout_ms', $known);
        foreach (array_keys((array) config('write-buffer.defaults')) as $name) {
            self::assertContains($name, ['connection', ...$known]);
        }
        $settings = BufferSettings::of(null, app('config'));
        self::assertNotSame([], $settings->connection()->session());
        self::assertSame($settings->connection()->session(), $settings->options()['session']);
        config(['write-buffer.defaults.retry_base_ms' => 3, 'write-buffer.defaults.session' => ['foreign_keys' => true]]);
        $given = BufferSettings::of(null, app('config'))->options();
        self::assertSame([3, true], [$given['retry_base_ms'], $given['session']['foreign_keys']]);
        self::assertSame([], array_diff(array_keys($given), $known));
    }

    public function testTheEnvironmentSetsWhatItDidForThePhpBuffer(): void
    {
        $code = '<?php $app = require "bootstrap/app.php"; $app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap(); echo json_encode(config("write-buffer"));';
        file_put_contents("{$this->application->directory}/show.php", $code);
        $process = $this->application->php(['show.php'], [
            'WRITE_BUFFER_MAX_SIZE' => '7', 'WRITE_BUFFER_FLUSH_INTERVAL_MS' => '8', 'WRITE_BUFFER_MAX_RETRIES' => '9', 'WRITE_BUFFER_SYNC' => 'true',
            'WRITE_BUFFER_JOURNAL' => 'process', 'WRITE_BUFFER_DSN' => 'sqlite:///x.db',
        ]);
        $process->wait();
        $config = json_decode($process->getOutput(), true);
        self::assertSame(true, $config['sync'] ?? null, $process->getOutput() . $process->getErrorOutput());
        self::assertSame(
            ['7', '8', '9', 'process', 'sqlite:///x.db'],
            array_map(static fn (string $name): mixed => $config['defaults'][$name], ['max_buffer_size', 'flush_interval_ms', 'max_retries', 'journal', 'dsn'])
        );
    }

    public function testAPublishedFileOfAnOlderVersionHasAllEnds(): void
    {
        file_put_contents("{$this->application->directory}/config/write-buffer.php", "<?php return ['buffers' => ['default' => []], 'drain' => ['looping' => 7, 'job_failed' => null]];");
        $this->boot();
        self::assertSame([7, null, 5_000], array_map(static fn (string $at): ?int => config("write-buffer.drain.$at"), ['looping', 'job_failed', 'job_processed']));
        self::assertSame(['default' => []], config('write-buffer.buffers'));
    }

    public function testTheConfigurationCanBeCached(): void
    {
        self::assertSame(0, $this->application->artisan(['config:cache'])->getExitCode());
        $doctor = $this->application->artisan(['write-buffer:status', '--json']);
        self::assertSame(0, $doctor->getExitCode(), $doctor->getOutput() . $doctor->getErrorOutput());
    }

    public function testTheOtherBuffersHaveEveryMethodOfTheNativeOne(): void
    {
        self::needsExtension();
        foreach ((new ReflectionClass(\WriteBuffer::class))->getMethods() as $method) {
            foreach ($method->isStatic() || $method->isConstructor() ? [] : [SyncWriteBuffer::class, RecordingBuffer::class, \WriteBuffer\Laravel\Buffer::class] as $class) {
                self::assertTrue(method_exists($class, $method->name), "$class::$method->name");
                $parameters = static fn (\ReflectionMethod $m): array => array_map(static fn (\ReflectionParameter $p): string => $p->name, $m->getParameters());
                self::assertSame($parameters($method), $parameters(new \ReflectionMethod($class, $method->name)), "$class::$method->name");
            }
        }
    }

    public function testExceptionsWithoutTheExtensionAreThoseOfTheExtension(): void
    {
        self::needsExtension();
        $files = glob(__DIR__ . '/../../laravel/src/polyfill/Exception/*.php') ?: [];
        self::assertCount(8, $files);
        foreach ($files as $file) {
            $name = basename($file, '.php');
            $native = new ReflectionClass("WriteBuffer\\Exception\\$name");
            $source = (string) file_get_contents($file);
            self::assertTrue($native->isInternal());
            $parent = $native->getParentClass() === false ? 'interface WriteBufferException extends \Throwable' : "extends \\{$native->getParentClass()->name} implements";
            self::assertStringContainsString($parent, $source);
        }
    }
}
