<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use RuntimeException;

/**
 * A php-fpm of this PHP's version with the extension, its pools, log and sockets in a
 * directory of its own; ended with whatever is left of it when this object goes.
 */
final class PhpFpm
{
    public readonly string $directory;

    /** @var resource */
    private $process;

    /**
     * @param array<string, array<string, string|int>> $pools settings of each pool, beyond those that all need
     * @param array<string, string|int> $global settings; without process_control_timeout, which is 30 here,
     *     FPM kills its children at once even where it is asked to end gracefully
     * @param list<string> $arguments of php-fpm, such as -d settings
     * @param array<string, string> $environment of every child
     */
    public function __construct(array $pools, array $global = [], array $arguments = [], array $environment = [])
    {
        $binary = self::binary() ?? throw new RuntimeException((string) self::missing());
        $this->directory = sys_get_temp_dir() . '/write-buffer-fpm-' . bin2hex(random_bytes(6));
        mkdir($this->directory, 0700);
        // At another level it keeps to itself how children end while it stops or reloads.
        $lines = ['[global]', "error_log = {$this->log()}", 'log_level = debug', 'daemonize = no', ...self::settings($global + ['process_control_timeout' => 30])];
        foreach ($pools as $name => $settings) {
            // A core goes to the directory, should there be one.
            $settings += [
                'listen' => $this->socket($name), 'listen.backlog' => 511, 'pm' => 'static', 'pm.max_children' => 1, 'clear_env' => 'no',
                'chdir' => $this->directory, 'rlimit_core' => 'unlimited', 'process.dumpable' => 'yes', 'catch_workers_output' => 'yes',
            ];
            array_push($lines, "[$name]", ...self::settings($settings), ...(posix_geteuid() === 0 ? ['user = root', 'group = root'] : []));
        }
        file_put_contents("$this->directory/fpm.conf", implode("\n", $lines) . "\n");
        $command = [$binary, '-n', '-R', '-y', "$this->directory/fpm.conf", '-d', 'extension=' . Subprocess::extension(), '-d', 'display_errors=0', ...$arguments];
        $files = [['file', '/dev/null', 'r'], ['file', "$this->directory/output", 'a'], ['file', "$this->directory/output", 'a']];
        $process = proc_open($command, $files, $pipes, $this->directory, $environment + getenv());
        $this->process = is_resource($process) ? $process : throw new RuntimeException("$binary does not start.");
        $this->awaitReady(1);
    }

    public function __destruct()
    {
        $left = [...($this->isRunning() ? [$this->pid()] : []), ...$this->survivors()];
        array_map(static fn (int $pid): bool => posix_kill($pid, SIGKILL), $left);
        proc_close($this->process);
        CrashScenario::removeTree($this->directory);
    }

    /** Why there is none here; null if there is one. */
    public static function missing(): ?string
    {
        return self::binary() !== null ? null : sprintf(
            'No php-fpm like this PHP %s%s%s here: scripts/setup.sh test installs it on Debian, PHP_FPM names one.',
            PHP_VERSION,
            PHP_ZTS ? ' ZTS' : '',
            PHP_DEBUG ? ' DEBUG' : ''
        );
    }

    public function pid(): int
    {
        return proc_get_status($this->process)['pid'];
    }

    public function isRunning(): bool
    {
        return proc_get_status($this->process)['running'];
    }

    /** @return list<int> processes that the master has started and not yet seen the end of */
    public function children(): array
    {
        return self::childrenOf($this->pid());
    }

    /** @return list<int> */
    public static function childrenOf(int $pid): array
    {
        return array_map('intval', preg_split('/\s+/', (string) @file_get_contents("/proc/$pid/task/$pid/children"), -1, PREG_SPLIT_NO_EMPTY) ?: []);
    }

    /** @return list<int> processes in its directory, where all its children are, also those it has lost */
    public function survivors(): array
    {
        $there = array_filter(glob('/proc/[0-9]*') ?: [], fn (string $process): bool => @readlink("$process/cwd") === $this->directory);
        return array_values(array_diff(array_map(static fn (string $process): int => (int) basename($process), $there), [$this->pid()]));
    }

    /** Whether a process is there and not only waits to be noticed. */
    public static function isAlive(int $pid): bool
    {
        $state = (string) @file_get_contents("/proc/$pid/stat");
        return $state !== '' && !str_contains($state, ') Z ');
    }

    public function socket(string $pool): string
    {
        return "$this->directory/$pool.sock";
    }

    /** Writes a script that begins as those of Subprocess do. */
    public function script(string $name, string $code): string
    {
        file_put_contents("$this->directory/$name.php", Subprocess::PREAMBLE . $code);
        return "$this->directory/$name.php";
    }

    /** @param array<string, scalar> $query */
    public function get(string $script, array $query = [], string $pool = 'www'): FastCgiRequest
    {
        return (new FastCgiRequest($this->socket($pool), $script, $query))->wait();
    }

    public function signal(int $signal): void
    {
        posix_kill($this->pid(), $signal);
    }

    /** Starts itself anew, as `systemctl reload` has it do. */
    public function reload(float $seconds = 60.0): void
    {
        $ready = $this->readiness();
        $this->signal(SIGUSR2);
        $this->awaitReady($ready + 1, $seconds);
    }

    /** Ends by SIGQUIT, gracefully, or SIGTERM, at once; refuses what its children left unfreed. */
    public function stop(int $signal = SIGQUIT, float $seconds = 60.0): void
    {
        $this->signal($signal);
        $deadline = hrtime(true) + $seconds * 1e9;
        while ($this->isRunning()) {
            if (hrtime(true) > $deadline) {
                throw new RuntimeException("php-fpm did not end within $seconds s: " . $this->output());
            }
            usleep(5_000);
        }
        Subprocess::refuseLeaks($this->output());
    }

    /** What it and its children said. */
    public function output(): string
    {
        return @file_get_contents($this->log()) . @file_get_contents("$this->directory/output");
    }

    /** @return list<string> core files */
    public function cores(): array
    {
        return glob("$this->directory/core*") ?: [];
    }

    private function log(): string
    {
        return "$this->directory/log";
    }

    private function readiness(): int
    {
        return substr_count((string) @file_get_contents($this->log()), 'ready to handle connections');
    }

    private function awaitReady(int $times, float $seconds = 30.0): void
    {
        $deadline = hrtime(true) + $seconds * 1e9;
        while ($this->readiness() < $times) {
            if (!$this->isRunning() || hrtime(true) > $deadline) {
                throw new RuntimeException("php-fpm is not ready within $seconds s: " . $this->output());
            }
            usleep(5_000);
        }
    }

    /**
     * @param array<string, string|int> $settings
     * @return list<string>
     */
    private static function settings(array $settings): array
    {
        return array_map(static fn (string $name, string|int $value): string => "$name = $value", array_keys($settings), $settings);
    }

    private static function binary(): ?string
    {
        static $found = false;
        if ($found !== false) {
            return $found;
        }
        ob_start();
        phpinfo(INFO_GENERAL);
        // Version, thread safety and debugging: another one could not load the extension.
        $build = self::build((string) ob_get_clean());
        $given = (string) getenv('PHP_FPM');
        foreach ($given !== '' ? [$given] : ['php-fpm' . PHP_MAJOR_VERSION . '.' . PHP_MINOR_VERSION, 'php-fpm'] as $name) {
            foreach ([...explode(':', (string) getenv('PATH')), '/usr/sbin', '/usr/local/sbin'] as $directory) {
                $path = $name[0] === '/' ? $name : "$directory/$name";
                if (is_executable($path) && self::build((string) shell_exec(escapeshellarg($path) . ' -n -i 2>&1')) === $build) {
                    return $found = $path;
                }
            }
        }
        return $found = null;
    }

    private static function build(string $info): string
    {
        return preg_match('/API\d+,[\w,]+/', $info, $found) === 1 ? $found[0] : '';
    }
}
