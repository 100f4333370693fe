<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel;

use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Foundation\Console\AboutCommand;
use Illuminate\Support\ServiceProvider;
use WriteBuffer\Laravel\Contracts\Buffers;
use WriteBuffer\Laravel\Metrics\MetricsController;
use WriteBuffer\Laravel\Status\Board;
use WriteBuffer\WriteBufferInterface;

/**
 * Nothing here opens a buffer or reads a connection: what is wrong with them is said at
 * first use and by `write-buffer:doctor`, and never by `artisan list`.
 */
final class WriteBufferServiceProvider extends ServiceProvider
{
    private const ROOT = __DIR__ . '/../..';

    public function register(): void
    {
        $this->mergeConfig();
        $this->app->singleton(Buffers::class, BufferManager::class);
        $this->app->bind(Buffer::class, static fn ($app): Buffer => $app->make(Buffers::class)->buffer());
        $this->app->bind(WriteBufferInterface::class, Buffer::class);
        $this->app->singleton(Extension::class, static fn (): Extension => Extension::loaded());
        $this->app->singleton(Board::class, static function ($app): Board {
            $path = $app->make('config')->get('write-buffer.status.path');
            return new Board(is_string($path) && $path !== '' ? $path : null, (int) $app->make('config')->get('write-buffer.status.every_ms', 1_000));
        });
    }

    public function boot(): void
    {
        // Made here, these two outlive the requests of an Octane worker, as the buffers do.
        $this->app->make(Buffers::class);
        $this->app->make(Board::class);
        $this->bootDrains();
        $this->bootRoute();
        if ($this->app->runningInConsole()) {
            $this->bootConsole();
        }
    }

    /** An end that a published file of an older version does not know is drained none the less. */
    private function mergeConfig(): void
    {
        $file = self::ROOT . '/config/write-buffer.php';
        $this->mergeConfigFrom($file, 'write-buffer');
        if ($this->app->configurationIsCached()) {
            return;
        }
        $config = $this->app->make('config');
        $defaults = require $file;
        foreach (['drain', 'status', 'metrics'] as $section) {
            $config->set("write-buffer.$section", (array) $config->get("write-buffer.$section") + $defaults[$section]);
        }
    }

    private function bootDrains(): void
    {
        (new Drains())->subscribe($this->app->make(Dispatcher::class));
        $this->app->terminating(static function (): void {
            Drains::at('terminating');
        });
    }

    private function bootRoute(): void
    {
        $config = $this->app->make('config');
        $path = $config->get('write-buffer.metrics.route');
        if (is_string($path) && $path !== '' && !$this->app->routesAreCached()) {
            $this->app->make('router')->get($path, MetricsController::class)
                ->middleware((array) $config->get('write-buffer.metrics.middleware', []))
                ->name('write-buffer.metrics');
        }
    }

    private function bootConsole(): void
    {
        $this->publishes([self::ROOT . '/config/write-buffer.php' => $this->app->configPath('write-buffer.php')], 'write-buffer-config');
        $this->publishes([self::ROOT . '/database/migrations' => $this->app->databasePath('migrations')], 'write-buffer-migrations');
        $this->loadMigrationsFrom(self::ROOT . '/database/migrations');
        $this->commands([
            Console\StatusCommand::class,
            Console\FlushCommand::class,
            Console\DoctorCommand::class,
            Console\QuarantineCommand::class,
            Console\InstallCommand::class,
        ]);
        // Since Laravel 9.21.
        if (class_exists(AboutCommand::class)) {
            AboutCommand::add('WriteBuffer', static fn (): array => About::facts());
        }
    }
}
