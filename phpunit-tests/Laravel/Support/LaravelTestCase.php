<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel\Support;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Support\Facades\Facade;
use WriteBuffer\Exception\WriteBufferException;
use WriteBuffer\Laravel\Contracts\Buffers;
use WriteBuffer\Tests\Support\DatabaseTestCase;

/**
 * A test with a Laravel application, skipped where no Laravel is installed.
 */
abstract class LaravelTestCase extends DatabaseTestCase
{
    /** Nothing is written but by the end that a test is about. */
    protected const LAZY = [
        'write-buffer.sync' => false,
        'write-buffer.defaults.max_buffer_size' => 1_000_000,
        'write-buffer.defaults.flush_interval_ms' => self::NEVER_MS,
        'write-buffer.defaults.retry_max_ms' => 100,
    ];

    protected LaravelApplication $application;
    private ?Application $app = null;
    private int $errorReporting;

    protected function setUp(): void
    {
        if (!LaravelApplication::isInstalled()) {
            self::markTestSkipped('Laravel is not installed here.');
        }
        // Laravel 8 is older than PHP 8.2.
        $this->errorReporting = error_reporting();
        parent::setUp();
        $this->application = new LaravelApplication();
    }

    protected function tearDown(): void
    {
        if ($this->app !== null) {
            foreach ($this->app->make(Buffers::class)->opened() as $buffer) {
                try {
                    $buffer->clear();
                    $buffer->close(2_000);
                } catch (WriteBufferException) {
                    // Closed by the test itself.
                }
            }
            Facade::clearResolvedInstances();
            $this->app->flush();
            $this->app = null;
        }
        parent::tearDown();
        if (isset($this->application)) {
            $this->application->remove();
            error_reporting($this->errorReporting);
        }
    }

    /** A path where no directory is yet; removed with the application. */
    protected function newDirectory(): string
    {
        return "{$this->application->directory}/directory-" . bin2hex(random_bytes(6));
    }

    /** @param array<string, mixed> $config */
    protected function boot(array $config = []): Application
    {
        return $this->app = $this->application->boot($config);
    }

    protected static function needsExtension(): void
    {
        if (!extension_loaded('write_buffer')) {
            self::markTestSkipped('The extension is not loaded.');
        }
    }
}
