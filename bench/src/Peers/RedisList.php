<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use Redis;
use RuntimeException;
use WriteBuffer\Bench\Flow\Flow;
use WriteBuffer\Bench\Run;

/** Each match as JSON into a Redis list; a second process takes 500 at a time and writes them. */
final class RedisList implements Peer
{
    public const KEY = 'matches';

    private Redis $redis;
    /** @var resource */
    private $worker;

    /** @param array<string, mixed> $flow what the worker needs to make the same flow */
    public function __construct(private readonly array $flow)
    {
    }

    public static function connect(): Redis
    {
        $redis = new Redis();
        $redis->connect(getenv('BENCH_REDIS') ?: throw new RuntimeException('BENCH_REDIS names no socket.'));

        return $redis;
    }

    public function prepare(Flow $flow): void
    {
        $this->redis = self::connect();
        $this->redis->flushAll();
        $script = dirname(__DIR__, 2) . '/children/redis-worker.php';
        $this->worker = proc_open([...Run::php(), $script, json_encode($this->flow, JSON_THROW_ON_ERROR)], [1 => ['pipe', 'w']], $pipes);
        // It says when it is ready.
        fgets($pipes[1]);
    }

    public function apply(array $group): void
    {
        $this->redis->rPush(self::KEY, json_encode($group, JSON_THROW_ON_ERROR));
    }

    public function finish(): void
    {
        $this->redis->rPush(self::KEY, 'end');
        $status = proc_close($this->worker);
        if ($status !== 0) {
            throw new RuntimeException("The worker behind Redis ended with $status.");
        }
    }

    public function facts(): array
    {
        return [];
    }
}
