<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\TestCase;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\Subprocess;

/** The example exchange, from an event file to a clean audit, on the database under test. */
final class SpotBackendTest extends TestCase
{
    private const EVENTS = 40_000;
    private const SPOT = __DIR__ . '/../examples/spot-backend';

    private string $directory = '';

    protected function setUp(): void
    {
        $this->directory = sys_get_temp_dir() . '/write-buffer-spot-' . bin2hex(random_bytes(6));
        mkdir($this->directory, 0700);
        $this->writeEvents("$this->directory/events.csv");
        self::assertSame(0, $this->artisan('spot:migrate-and-seed --fresh', $output), $output);
    }

    protected function tearDown(): void
    {
        array_map('unlink', glob("$this->directory/*") ?: []);
        rmdir($this->directory);
    }

    public function testAWorkerThatIsStoppedDrainsAndIsResumedAndEveryStatementHolds(): void
    {
        foreach ([SIGTERM, SIGINT] as $signal) {
            $pipes = [];
            $worker = proc_open($this->command('spot:process-orders ' . $this->input()), [['file', '/dev/null', 'r'], ['pipe', 'w'], ['file', '/dev/null', 'w']], $pipes, self::SPOT, $this->environment());
            self::assertIsResource($worker);
            $before = $this->progress();
            for ($i = 0; $i < 600 && $this->progress() === $before && proc_get_status($worker)['running']; $i++) {
                usleep(20_000);
            }
            proc_terminate($worker, $signal);
            $output = (string) stream_get_contents($pipes[1]);
            self::assertSame(0, $this->exitCode($worker), $output);
            self::assertStringContainsString("Stopped by signal $signal", $output);
            self::assertGreaterThan($before, $this->progress());
            self::assertLessThan(self::EVENTS, $this->progress(), 'the worker was too fast for this test');
            self::assertSame(0, $this->artisan('spot:audit ' . $this->input(), $audit), $audit);
        }

        self::assertSame(0, $this->artisan('spot:process-orders ' . $this->input(), $output), $output);
        self::assertSame(self::EVENTS, $this->progress());
        self::assertSame(0, $this->artisan('spot:audit ' . $this->input(), $audit), $audit);
        self::assertStringContainsString('6 of 6 statements hold', $audit);
    }

    public function testTheAuditFindsAForgedBalance(): void
    {
        self::assertSame(0, $this->artisan('spot:process-orders --limit=2000 ' . $this->input(), $output), $output);
        $this->database()->exec('UPDATE spot_usd_accounts SET balance = 1 WHERE id = 1');
        self::assertSame(1, $this->artisan('spot:audit ' . $this->input(), $audit), $audit);
    }

    /** Half of the orders cross the other side; some are reduced, most are deleted in the end. */
    private function writeEvents(string $path): void
    {
        mt_srand(7);
        $lines = ['id,timestamp,exchange_timestamp,price,volume,action,direction'];
        $open = [];
        for ($n = 1; $n <= self::EVENTS; $n++) {
            $time = 1_777_689_380_000 + $n * 5;
            $kind = mt_rand(1, 10);
            if ($kind <= 6 || count($open) < 10) {
                $id = 2_002_347_637_000_000 + $n * 1_024;
                $direction = mt_rand(0, 1) === 0 ? 'bid' : 'ask';
                $price = 780_000 + mt_rand(-60, 60);
                $open[$id] = [$price, mt_rand(1_000, 90_000_000), $direction];
                $action = 'created';
            } else {
                $id = array_rand($open);
                $action = $kind === 7 ? 'changed' : 'deleted';
                $open[$id][1] = max(1, intdiv($open[$id][1], 2));
            }
            [$price, $volume, $direction] = $open[$id];
            if ($action === 'deleted') {
                unset($open[$id]);
            }
            $lines[] = sprintf('%d,%d,%d,%.1F,%.8F,%s,%s', $id, $time, $time, $price / 10, $volume / 1e8, $action, $direction);
        }
        file_put_contents($path, implode("\n", $lines) . "\n");
    }

    private function input(): string
    {
        return escapeshellarg("$this->directory/events.csv");
    }

    private function command(string $arguments): string
    {
        $php = [PHP_BINARY, ...Subprocess::arguments(), 'artisan'];
        return 'exec ' . implode(' ', array_map('escapeshellarg', $php)) . ' ' . $arguments;
    }

    private function artisan(string $arguments, ?string &$output): int
    {
        $pipes = [];
        $process = proc_open($this->command($arguments), [['file', '/dev/null', 'r'], ['pipe', 'w'], ['redirect', 1]], $pipes, self::SPOT, $this->environment());
        self::assertIsResource($process);
        $output = (string) stream_get_contents($pipes[1]);
        return $this->exitCode($process);
    }

    /** @param resource $process */
    private function exitCode($process): int
    {
        while (($status = proc_get_status($process))['running']) {
            usleep(10_000);
        }
        proc_close($process);
        return $status['exitcode'];
    }

    /** @return array<string, string> */
    private function environment(): array
    {
        if (Database::isSqlite()) {
            return ['DB_CONNECTION' => 'sqlite', 'DB_DATABASE' => "$this->directory/spot.sqlite"] + getenv();
        }
        $parts = Database::parts();
        return [
            'DB_CONNECTION' => 'mysql',
            'DB_HOST' => (string) $parts['host'],
            'DB_PORT' => (string) $parts['port'],
            'DB_DATABASE' => (string) $parts['database'],
            'DB_USERNAME' => (string) $parts['user'],
            'DB_PASSWORD' => (string) $parts['password'],
        ] + getenv();
    }

    private function database(): \PDO
    {
        return Database::isSqlite() ? new \PDO("sqlite:$this->directory/spot.sqlite") : Database::connect();
    }

    private function progress(): int
    {
        try {
            $events = $this->database()->query('SELECT max(events) FROM spot_progress');
        } catch (\PDOException) {
            // Locked for a moment; it is asked again.
            return 0;
        }
        return (int) ($events === false ? 0 : $events->fetchColumn());
    }
}
