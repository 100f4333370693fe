<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use PDO;
use PDOException;
use RuntimeException;

/** The example exchange on the database under test: its commands, each a process of its own. */
final class SpotBackend
{
    private const DIRECTORY = __DIR__ . '/../../examples/spot-backend';

    public readonly string $directory;

    /** @param array<string, string> $environment beyond the database's */
    public function __construct(private array $environment = [])
    {
        $this->directory = sys_get_temp_dir() . '/write-buffer-spot-' . bin2hex(random_bytes(6));
        mkdir($this->directory, 0700);
        $this->environment += self::databaseEnvironment("$this->directory/spot.sqlite");
    }

    /**
     * The same, with more of an environment.
     *
     * @param array<string, string> $environment
     */
    public function with(array $environment): self
    {
        $other = clone $this;
        $other->environment = $environment + $this->environment;
        return $other;
    }

    public function remove(): void
    {
        self::removeTree($this->directory);
    }

    public static function removeTree(string $directory): void
    {
        foreach (array_diff((array) scandir($directory), ['.', '..']) as $name) {
            is_dir("$directory/$name") ? self::removeTree("$directory/$name") : unlink("$directory/$name");
        }
        rmdir($directory);
    }

    /** @return array<string, string> how Laravel finds the database under test */
    public static function databaseEnvironment(string $sqliteFile): array
    {
        if (Database::isSqlite()) {
            return ['DB_CONNECTION' => 'sqlite', 'DB_DATABASE' => $sqliteFile];
        }
        $parts = Database::parts();
        return [
            'DB_CONNECTION' => 'mysql',
            'DB_HOST' => (string) $parts['host'],
            'DB_PORT' => (string) $parts['port'],
            'DB_DATABASE' => (string) $parts['database'],
            'DB_USERNAME' => (string) $parts['user'],
            'DB_PASSWORD' => (string) $parts['password'],
        ];
    }

    /** Options of a worker whose journal survives its death. */
    public function journal(): string
    {
        return '--journal=process --journal-dir=' . escapeshellarg("$this->directory/journal");
    }

    public function artisan(string $arguments, ?string &$output = null): int
    {
        $process = $this->start($arguments, $pipe);
        $output = (string) stream_get_contents($pipe);
        Subprocess::refuseLeaks($output);
        return $this->end($process);
    }

    /**
     * @param resource|null $pipe what it prints
     * @return resource
     */
    public function start(string $arguments, &$pipe = null)
    {
        $php = [PHP_BINARY, ...Subprocess::arguments(), 'artisan'];
        $command = 'exec ' . implode(' ', array_map('escapeshellarg', $php)) . ' ' . $arguments;
        $files = [['file', '/dev/null', 'r'], ['pipe', 'w'], ['redirect', 1]];
        $process = proc_open($command, $files, $pipes, self::DIRECTORY, $this->environment + getenv());
        $pipe = $pipes[1];
        return $process === false ? throw new RuntimeException("No process for artisan $arguments.") : $process;
    }

    /** @param resource $process; @return int its exit code, -1 after a signal */
    public function end($process): int
    {
        while (($status = proc_get_status($process))['running']) {
            usleep(5_000);
        }
        proc_close($process);
        return $status['exitcode'];
    }

    public function database(): PDO
    {
        return Database::isSqlite() ? new PDO("sqlite:$this->directory/spot.sqlite") : Database::connect();
    }

    /** The only value of a query; null while the database is locked. */
    public function value(string $sql): mixed
    {
        try {
            $answer = $this->database()->query($sql);
            return $answer === false ? null : $answer->fetchColumn();
        } catch (PDOException) {
            return null;
        }
    }

    public function events(string $market = 'usd_btc'): int
    {
        return (int) $this->value("SELECT events FROM spot_progress WHERE market = '$market'");
    }

    /**
     * Waits until the database has more events than that, or the process has ended.
     *
     * @param resource $process
     */
    public function waitForEvents($process, int $more, string $market = 'usd_btc'): void
    {
        for ($i = 0; $i < 12_000 && $this->events($market) <= $more && proc_get_status($process)['running']; $i++) {
            usleep(5_000);
        }
    }

    /**
     * Half of the events cross the other side; some are reduced, most are deleted in the end.
     *
     * @return string the file
     */
    public function writeEvents(string $name, int $events, int $seed = 7): string
    {
        mt_srand($seed);
        $lines = ['id,timestamp,exchange_timestamp,price,volume,action,direction'];
        $open = [];
        for ($n = 1; $n <= $events; $n++) {
            $time = 1_777_689_380_000 + $n * 5;
            $kind = mt_rand(1, 10);
            if ($kind <= 6 || count($open) < 10) {
                $id = 2_002_347_637_000_000 + $seed * 1_000_000_000 + $n * 1_024;
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
        file_put_contents("$this->directory/$name", implode("\n", $lines) . "\n");
        return "$this->directory/$name";
    }
}
