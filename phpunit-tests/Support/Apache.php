<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use RuntimeException;

/**
 * An Apache httpd with this PHP as its module (prefork) and the extension, everything in a directory
 * of its own. Started as root its children are nobody's, as Apache insists.
 */
final class Apache
{
    private const MODULES = '/usr/lib/apache2/modules';

    public readonly string $directory;
    public readonly string $address;

    /** @var resource */
    private $process;

    /**
     * @param string $root what it serves, and whatever else its children write to
     * @param array<string, string|int> $settings of httpd.conf
     * @param array<string, string> $environment
     */
    public function __construct(string $root, array $settings = [], array $environment = [])
    {
        $binary = self::binary() ?? throw new RuntimeException((string) self::missing());
        $this->directory = sys_get_temp_dir() . '/write-buffer-apache-' . bin2hex(random_bytes(6));
        mkdir($this->directory, 0711);
        $socket = stream_socket_server('tcp://127.0.0.1:0') ?: throw new RuntimeException('No port.');
        $this->address = (string) stream_socket_get_name($socket, false);
        fclose($socket);
        $settings += [
            'ServerRoot' => $this->directory, 'DefaultRuntimeDir' => $this->directory, 'PidFile' => "$this->directory/pid",
            'ErrorLog' => $this->log(), 'ServerName' => 'localhost', 'Listen' => $this->address, 'PHPIniDir' => $this->directory,
            'DocumentRoot' => $root, 'StartServers' => 1, 'MinSpareServers' => 1, 'MaxSpareServers' => 1, 'MaxRequestWorkers' => 4,
        ];
        $lines = ['LoadModule mpm_prefork_module ' . self::MODULES . '/mod_mpm_prefork.so'];
        $lines[] = 'LoadModule authz_core_module ' . self::MODULES . '/mod_authz_core.so';
        $lines[] = 'LoadModule php_module ' . self::module();
        foreach ($settings as $name => $value) {
            $lines[] = "$name $value";
        }
        if (posix_geteuid() === 0) {
            array_push($lines, 'User nobody', 'Group nogroup');
            self::giveToNobody($root);
            Database::isSqlite() && self::giveToNobody(dirname(substr(Database::dsn(), strlen('sqlite://'))));
        }
        array_push($lines, '<FilesMatch \.php$>', 'SetHandler application/x-httpd-php', '</FilesMatch>');
        file_put_contents("$this->directory/httpd.conf", implode("\n", $lines) . "\n");
        file_put_contents("$this->directory/php.ini", 'extension=' . Subprocess::extension() . "\nlog_errors=1\n");
        $files = [['file', '/dev/null', 'r'], ['file', "$this->directory/output", 'a'], ['file', "$this->directory/output", 'a']];
        // It signals its process group when it ends.
        $command = ['setsid', $binary, '-DFOREGROUND', '-f', "$this->directory/httpd.conf"];
        $process = proc_open($command, $files, $pipes, $this->directory, $environment + getenv());
        $this->process = is_resource($process) ? $process : throw new RuntimeException("$binary does not start.");
        $this->awaitReady(1);
    }

    public function __destruct()
    {
        $children = PhpFpm::childrenOf($this->pid());
        array_map(static fn (int $pid): bool => posix_kill($pid, SIGKILL), [...($this->isRunning() ? [$this->pid()] : []), ...$children]);
        proc_close($this->process);
        CrashScenario::removeTree($this->directory);
    }

    /** Why there is none here; null if there is one. */
    public static function missing(): ?string
    {
        return self::binary() !== null && is_file(self::module()) && !PHP_ZTS && !PHP_DEBUG ? null : sprintf(
            'No Apache with a module of this PHP %s%s%s here (Debian: apache2-bin and libapache2-mod-php).',
            PHP_VERSION,
            PHP_ZTS ? ' ZTS' : '',
            PHP_DEBUG ? ' DEBUG' : ''
        );
    }

    public function get(string $path): string
    {
        return (string) file_get_contents("http://$this->address/$path");
    }

    /** Has it load its configuration, PHP and the extension anew, within the same process. */
    public function restart(int $signal): void
    {
        $ready = $this->readiness();
        posix_kill($this->pid(), $signal);
        $this->awaitReady($ready + 1);
    }

    public function stop(int $signal, float $seconds = 60.0): void
    {
        posix_kill($this->pid(), $signal);
        $deadline = hrtime(true) + $seconds * 1e9;
        while ($this->isRunning()) {
            if (hrtime(true) > $deadline) {
                throw new RuntimeException("Apache did not end within $seconds s: " . $this->output());
            }
            usleep(5_000);
        }
    }

    /** What it and its children said; a child that dies of a signal is among it. */
    public function output(): string
    {
        return @file_get_contents($this->log()) . @file_get_contents("$this->directory/output");
    }

    private function pid(): int
    {
        return proc_get_status($this->process)['pid'];
    }

    private function isRunning(): bool
    {
        return proc_get_status($this->process)['running'];
    }

    private function log(): string
    {
        return "$this->directory/log";
    }

    private function readiness(): int
    {
        return substr_count((string) @file_get_contents($this->log()), 'resuming normal operations');
    }

    private function awaitReady(int $times, float $seconds = 30.0): void
    {
        $deadline = hrtime(true) + $seconds * 1e9;
        while ($this->readiness() < $times) {
            if (!$this->isRunning() || hrtime(true) > $deadline) {
                throw new RuntimeException("Apache is not ready within $seconds s: " . $this->output());
            }
            usleep(5_000);
        }
    }

    private static function binary(): ?string
    {
        return is_executable('/usr/sbin/apache2') ? '/usr/sbin/apache2' : null;
    }

    private static function module(): string
    {
        return sprintf('%s/libphp%d.%d.so', self::MODULES, PHP_MAJOR_VERSION, PHP_MINOR_VERSION);
    }

    private static function giveToNobody(string $directory): void
    {
        foreach ([$directory, ...(glob("$directory/*") ?: [])] as $path) {
            chown($path, 'nobody');
        }
    }
}
