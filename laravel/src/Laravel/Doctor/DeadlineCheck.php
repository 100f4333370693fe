<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Doctor;

use Illuminate\Contracts\Config\Repository;
use WriteBuffer\Laravel\BufferSettings;

/**
 * Whether there is time to write everything: before the supervisor's SIGKILL, and before
 * a queue gives a timed out job to another worker.
 */
final class DeadlineCheck implements Check
{
    /** Of the extension, as php.ini has nothing else. */
    private const DRAIN_TIMEOUT_MS = 10_000;
    /** Of queue:work and Horizon. */
    private const JOB_TIMEOUT_S = 60;

    /** @param list<BufferSettings> $buffers */
    public function __construct(private readonly Repository $config, private readonly array $buffers)
    {
    }

    public function findings(): iterable
    {
        yield from $this->supervisor();
        foreach ((array) $this->config->get('queue.connections', []) as $name => $queue) {
            if (is_array($queue)) {
                yield from $this->queue((string) $name, $queue);
            }
        }
    }

    /** @return iterable<Finding> */
    private function supervisor(): iterable
    {
        $stopS = $this->config->get('write-buffer.stop_timeout');
        if ($stopS === null || $stopS === '') {
            yield Finding::note('stop timeout', 'not known; set WRITE_BUFFER_STOP_TIMEOUT to the seconds between SIGTERM and SIGKILL (stopwaitsecs, TimeoutStopSec, docker stop -t)');
            return;
        }
        if (!is_numeric($stopS)) {
            yield Finding::fault('stop timeout', 'WRITE_BUFFER_STOP_TIMEOUT is ' . json_encode($stopS) . '; set it to a number of seconds, without a unit');
            return;
        }
        // The extension drains all buffers side by side when the process ends.
        $atExitMs = max([0, ...array_map(self::drainTimeoutMs(...), $this->buffers)]);
        $neededMs = $this->drainMs('worker_stopping') + $atExitMs;
        yield $neededMs > $stopS * 1_000
            ? Finding::fault('stop timeout', "a worker that stops may take $neededMs ms (drain.worker_stopping and drain_timeout_ms), and is killed after $stopS s;"
                . ' raise the supervisor\'s timeout, or lower the two')
            : Finding::ok('stop timeout', "$neededMs ms of draining fit in $stopS s");
    }

    /**
     * @param array<string, mixed> $queue
     * @return iterable<Finding>
     */
    private function queue(string $name, array $queue): iterable
    {
        if (($queue['driver'] ?? null) === 'redis' && in_array($queue['block_for'] ?? null, [0, '0'], true)) {
            yield Finding::fault("queue $name", 'block_for is 0: an idle worker hears no SIGTERM and never drains until a job comes; set it to null or 5');
        }
        $retryAfterS = $queue['retry_after'] ?? null;
        if (!is_numeric($retryAfterS)) {
            return;
        }
        $timeoutS = $this->jobTimeoutS($name);
        // One that has no try left fails first.
        $drainS = ($this->drainMs('job_failed') + $this->drainMs('job_timed_out') + $this->drainMs('worker_stopping')) / 1_000;
        yield $timeoutS + $drainS >= $retryAfterS
            ? Finding::fault("queue $name", "a job that times out after $timeoutS s drains for up to $drainS s, and is given to another worker after $retryAfterS s;"
                . ' raise retry_after above the sum')
            : Finding::ok("queue $name", "timeout $timeoutS s and draining $drainS s are below retry_after $retryAfterS s");
    }

    private function jobTimeoutS(string $queue): int
    {
        $supervisors = (array) $this->config->get('horizon.defaults', []);
        foreach ((array) $this->config->get('horizon.environments', []) as $environment) {
            $supervisors = [...array_values($supervisors), ...array_values((array) $environment)];
        }
        $timeouts = [];
        foreach ($supervisors as $supervisor) {
            if (($supervisor['connection'] ?? $queue) === $queue && isset($supervisor['timeout'])) {
                $timeouts[] = (int) $supervisor['timeout'];
            }
        }
        return $timeouts === [] ? self::JOB_TIMEOUT_S : max($timeouts);
    }

    private function drainMs(string $at): int
    {
        $waitMs = $this->config->get("write-buffer.drain.$at");
        return is_numeric($waitMs) ? (int) $waitMs : 0;
    }

    private static function drainTimeoutMs(BufferSettings $settings): int
    {
        return (int) ($settings->option('drain_timeout_ms') ?? (ini_get('write_buffer.drain_timeout_ms') ?: self::DRAIN_TIMEOUT_MS));
    }
}
