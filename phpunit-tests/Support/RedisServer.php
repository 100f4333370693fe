<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use PHPUnit\Framework\TestCase;
use Redis;
use RedisException;
use RuntimeException;

/** A real redis-server on a free port, with an append-only file, so that it may be killed, too. */
final class RedisServer
{
    private readonly string $directory;
    public readonly int $port;
    /** @var resource|null */
    private $process = null;

    private function __construct()
    {
        $this->directory = sys_get_temp_dir() . '/write-buffer-redis-' . bin2hex(random_bytes(6));
        mkdir($this->directory, 0700);
        $listener = stream_socket_server('tcp://127.0.0.1:0') ?: throw new RuntimeException('No free port.');
        $this->port = (int) substr((string) strrchr((string) stream_socket_get_name($listener, false), ':'), 1);
        fclose($listener);
    }

    /** Skips the test, and says why, where there is none. */
    public static function startOrSkip(): self
    {
        foreach (['redis-server is not installed' => self::program() !== '', 'the PHP extension redis is not loaded' => class_exists(Redis::class)] as $reason => $isThere) {
            $isThere || TestCase::markTestSkipped("$reason (Debian: redis-server and php-redis)");
        }
        $server = new self();
        $server->start();
        return $server;
    }

    public function start(): void
    {
        $arguments = [
            '--port', (string) $this->port, '--bind', '127.0.0.1', '--dir', $this->directory, '--save', '',
            '--appendonly', 'yes', '--appendfsync', 'no', '--daemonize', 'no',
        ];
        $files = [['file', '/dev/null', 'r'], ['file', "$this->directory/log", 'a'], ['redirect', 1]];
        $this->process = proc_open([self::program(), ...$arguments], $files, $pipes) ?: throw new RuntimeException('redis-server does not start.');
        for ($i = 0; $i < 1_000; $i++) {
            try {
                $this->connect()->ping();
                return;
            } catch (RedisException) {
                usleep(10_000);
            }
        }
        throw new RuntimeException('redis-server does not answer: ' . file_get_contents("$this->directory/log"));
    }

    public function kill(): void
    {
        if ($this->process !== null) {
            proc_terminate($this->process, SIGKILL);
            proc_close($this->process);
            $this->process = null;
        }
    }

    /** What it had on its disk. */
    public function forget(): void
    {
        SpotBackend::removeTree($this->directory);
        mkdir($this->directory, 0700);
    }

    public function remove(): void
    {
        $this->kill();
        SpotBackend::removeTree($this->directory);
    }

    public function connect(): Redis
    {
        $redis = new Redis();
        $redis->connect('127.0.0.1', $this->port, 5.0);
        return $redis;
    }

    /** @return array<string, string> how Laravel finds it */
    public function environment(): array
    {
        return ['REDIS_HOST' => '127.0.0.1', 'REDIS_PORT' => (string) $this->port];
    }

    private static function program(): string
    {
        foreach ([...explode(':', (string) getenv('PATH')), '/usr/bin', '/usr/local/bin'] as $directory) {
            if (is_executable("$directory/redis-server")) {
                return "$directory/redis-server";
            }
        }
        return '';
    }
}
