<?php

declare(strict_types=1);

namespace App\Providers;

use Illuminate\Support\ServiceProvider;
use WriteBuffer\Laravel\Events\BatchCommitted;
use WriteBuffer\Laravel\Events\BatchFailed;
use WriteBuffer\Laravel\Events\BufferFull;
use WriteBuffer\Laravel\Events\RowsQuarantined;
use WriteBuffer\Laravel\Facades\WriteBuffer;

/** What a test says by the environment of a process, and what the process says to the test. */
final class AppServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        foreach (json_decode((string) getenv('TEST_CONFIG') ?: '{}', true) as $key => $value) {
            $this->app->make('config')->set($key, $value);
        }
    }

    public function boot(): void
    {
        foreach ([BatchCommitted::class, BatchFailed::class, BufferFull::class, RowsQuarantined::class] as $event) {
            $this->app->make('events')->listen($event, static function (object $event): void {
                self::say(class_basename($event) . " $event->buffer " . ($event->rows ?? ''));
            });
        }
        if (getenv('TEST_FAKE')) {
            // Without the extension: that a hook came is seen by a flush of the fake.
            $fake = WriteBuffer::fake();
            $this->app->make('events')->listen('*', static function (string $event) use ($fake): void {
                static $seen = 0;
                $flushes = count($fake->opened()) > 0 ? $fake->flushes() : 0;
                if ($flushes > $seen) {
                    $seen = $flushes;
                    self::say("flushed by $event");
                }
            });
        }
    }

    private static function say(string $line): void
    {
        file_put_contents(storage_path('events.log'), "$line\n", FILE_APPEND);
    }
}
