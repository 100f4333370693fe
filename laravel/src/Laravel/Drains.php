<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel;

use Illuminate\Container\Container;
use Illuminate\Contracts\Events\Dispatcher;
use Illuminate\Queue\Jobs\SyncJob;
use Throwable;
use WriteBuffer\Laravel\Contracts\Buffers;
use WriteBuffer\Laravel\Status\Board;

/**
 * Every end of a piece of work: what is pending is written there, as config/write-buffer.php
 * says under `drain`, and errors are reported while there is somebody to report to.
 */
final class Drains
{
    /** The package may be missing, or older or newer than the event: names only. */
    private const EVENTS = [
        'Illuminate\Queue\Events\Looping' => 'looping',
        'Illuminate\Queue\Events\JobProcessed' => 'job_processed',
        'Illuminate\Queue\Events\JobFailed' => 'job_failed',
        'Illuminate\Queue\Events\JobExceptionOccurred' => 'job_failed',
        'Illuminate\Queue\Events\JobTimedOut' => 'job_timed_out',
        'Illuminate\Queue\Events\WorkerStopping' => 'worker_stopping',
        'Laravel\Horizon\Events\MasterSupervisorLooped' => 'horizon',
        'Laravel\Horizon\Events\SupervisorLooped' => 'horizon',
        'Laravel\Octane\Events\RequestTerminated' => 'octane_request',
        'Laravel\Octane\Events\TaskTerminated' => 'octane_task',
        'Laravel\Octane\Events\TickTerminated' => 'octane_tick',
        'Laravel\Octane\Events\WorkerStopping' => 'octane_stopping',
    ];
    /** After these nobody can commit a group that is still open. */
    private const ENDS = ['terminating', 'job_processed', 'job_failed', 'octane_request', 'octane_task', 'octane_tick'];

    public function subscribe(Dispatcher $events): void
    {
        foreach (self::EVENTS as $event => $at) {
            $events->listen($event, static function (object $event) use ($at): void {
                // A job of the connection `sync` runs inside of something that has its own end.
                if (!(($event->job ?? null) instanceof SyncJob)) {
                    self::at($at);
                }
            });
        }
    }

    /** A drain never throws: what it is called from must go on. */
    public static function at(string $at): void
    {
        self::guarded(static function () use ($at): void {
            $app = Container::getInstance();
            $wait = $app->make('config')->get("write-buffer.drain.$at");
            $opened = $app->make(Buffers::class)->opened();
            if ($wait === null || $wait === false || $opened === []) {
                return;
            }
            foreach (in_array($at, self::ENDS, true) ? $opened : [] as $buffer) {
                self::guarded(static fn () => $buffer->rollBackForgotten($at));
            }
            self::drain($opened, (int) $wait);
            $app->make(Board::class)->publish($opened, now: in_array($at, ['worker_stopping', 'octane_stopping'], true));
        });
    }

    /**
     * All buffers together have that time; they are written side by side.
     *
     * @param array<string, Buffer> $buffers
     */
    private static function drain(array $buffers, int $timeoutMs): void
    {
        $deadline = hrtime(true) / 1e6 + $timeoutMs;
        foreach ($timeoutMs > 0 && count($buffers) > 1 ? $buffers : [] as $buffer) {
            self::guarded(static fn () => $buffer->nudge());
        }
        foreach ($buffers as $buffer) {
            // One that the time ran out for is still asked for what it has done.
            self::guarded(static fn () => $buffer->drain($timeoutMs > 0 ? max(1, (int) ($deadline - hrtime(true) / 1e6)) : 0));
        }
    }

    /** What goes wrong with one buffer is no reason to forget the others. */
    private static function guarded(callable $act): void
    {
        try {
            $act();
        } catch (Throwable $error) {
            Watch::report($error);
        }
    }
}
