<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use RuntimeException;

/**
 * A PHP process of its own that loads the same extension; bounded in time whatever it does.
 */
final class Subprocess
{
    public const PREAMBLE = <<<'PHP'
        <?php
        $dsn = getenv('WRITE_BUFFER_TEST_DSN');
        $options = ['dsn' => $dsn, 'retry_max_ms' => 100];
        function trade(int $match): array { return ['match_id' => $match, 'price' => '5', 'quantity' => '1']; }

        PHP;

    public ?int $exitCode = null;
    public ?int $signal = null;
    private readonly string $directory;
    /** @var resource */
    private $process;

    /**
     * @param list<string> $command
     * @param array<string, string> $environment
     */
    private function __construct(array $command, array $environment)
    {
        $this->directory = sys_get_temp_dir() . '/write-buffer-child-' . bin2hex(random_bytes(6));
        mkdir($this->directory, 0700);
        $files = [['file', '/dev/null', 'r'], ['file', "$this->directory/stdout", 'w'], ['file', "$this->directory/stderr", 'w']];
        $process = proc_open($command, $files, $pipes, null, $environment + getenv());
        if ($process === false) {
            throw new RuntimeException('No child process.');
        }
        $this->process = $process;
    }

    public function __destruct()
    {
        if ($this->isRunning()) {
            proc_terminate($this->process, SIGKILL);
        }
        proc_close($this->process);
        array_map('unlink', glob("$this->directory/*") ?: []);
        rmdir($this->directory);
    }

    /**
     * Starts a script. `$dsn`, `$options` and `trade()` are there; strict types are not.
     *
     * @param array<string, string> $environment
     */
    public static function start(string $code, array $environment = []): self
    {
        $file = (string) tempnam(sys_get_temp_dir(), 'wb');
        file_put_contents($file, self::PREAMBLE . "unlink(__FILE__);\n" . $code);
        return new self([PHP_BINARY, ...self::arguments(), $file], $environment);
    }

    /**
     * Runs a script to its end.
     *
     * @param array<string, string> $environment
     */
    public static function run(string $code, array $environment = [], float $seconds = 30.0): self
    {
        return self::start($code, $environment)->wait($seconds);
    }

    /**
     * Runs PHP with these arguments alone, without the extension unless they load it.
     *
     * @param list<string> $arguments
     */
    public static function php(array $arguments, float $seconds = 30.0): self
    {
        return self::program([PHP_BINARY, ...$arguments])->wait($seconds);
    }

    /**
     * Starts any program.
     *
     * @param list<string> $command
     * @param array<string, string> $environment
     */
    public static function program(array $command, array $environment = []): self
    {
        return new self($command, $environment);
    }

    /**
     * Starts PHP's own server and waits until it answers. It has a process group of its own, as at
     * a terminal, where Ctrl+C reaches its workers, too.
     *
     * @param array<string, string> $environment
     * @return array{self, string} and its address
     */
    public static function server(string $root, array $environment = []): array
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0') ?: throw new RuntimeException('No port.');
        $address = (string) stream_socket_get_name($socket, false);
        fclose($socket);
        $server = new self(['setsid', PHP_BINARY, ...self::arguments(), '-S', $address, '-t', $root], $environment);
        $answers = static fn (): bool => @stream_socket_client("tcp://$address") !== false;
        return [$server->until(static fn (): bool => $answers() || !$server->isRunning(), 30.0, 'did not answer'), $address];
    }

    public function pid(): int
    {
        return proc_get_status($this->process)['pid'];
    }

    /**
     * How a child loads what this process has loaded.
     *
     * @return list<string>
     */
    public static function arguments(): array
    {
        $arguments = ['-d', 'display_errors=stderr', '-d', 'log_errors=0', '-d', 'error_reporting=-1', '-d', 'html_errors=0'];
        return self::isLoadedByIni() ? $arguments : [...$arguments, '-d', 'extension=' . self::extension()];
    }

    /** Path of the extension this process has loaded. */
    public static function extension(): string
    {
        $given = (string) getenv('WRITE_BUFFER_EXTENSION');
        if ($given !== '') {
            return $given;
        }
        preg_match('~/\S*write_buffer\S*\.so$~m', (string) file_get_contents('/proc/self/maps'), $found);
        return $found[0] ?? throw new RuntimeException('Set WRITE_BUFFER_EXTENSION to the path of the extension.');
    }

    /** A debug build of PHP says at its end what was not freed. */
    public static function refuseLeaks(string $output): void
    {
        if (PHP_DEBUG && preg_match('/^.*(Freeing 0x|memory leaks detected).*$/m', $output, $found)) {
            throw new RuntimeException("A PHP process left memory unfreed: $found[0]");
        }
    }

    public function isRunning(): bool
    {
        if ($this->exitCode !== null) {
            return false;
        }
        $status = proc_get_status($this->process);
        if (!$status['running']) {
            $this->exitCode = $status['exitcode'];
            $this->signal = $status['signaled'] ? $status['termsig'] : null;
            self::refuseLeaks($this->stderr());
        }
        return $status['running'];
    }

    /** Waits for the end. */
    public function wait(float $seconds = 30.0): self
    {
        return $this->until(fn (): bool => !$this->isRunning(), $seconds, 'did not end');
    }

    /** Waits until the script has printed something. */
    public function waitFor(string $text, float $seconds = 30.0): self
    {
        $printed = fn (): bool => str_contains($this->stdout(), $text);
        $this->until(fn (): bool => $printed() || !$this->isRunning(), $seconds, "did not print '$text'");
        return $printed() ? $this : throw new RuntimeException("The child ended before it printed '$text': " . $this->output());
    }

    public function kill(int $signal): self
    {
        proc_terminate($this->process, $signal);
        return $this;
    }

    public function stdout(): string
    {
        return (string) file_get_contents("$this->directory/stdout");
    }

    public function stderr(): string
    {
        return (string) file_get_contents("$this->directory/stderr");
    }

    /** Everything a failed assertion should show. */
    public function output(): string
    {
        return "exit $this->exitCode, signal $this->signal\n" . $this->stdout() . $this->stderr();
    }

    private function until(callable $condition, float $seconds, string $otherwise): self
    {
        $deadline = hrtime(true) + $seconds * 1e9;
        while (!$condition()) {
            if (hrtime(true) > $deadline) {
                proc_terminate($this->process, SIGKILL);
                throw new RuntimeException("The child $otherwise within $seconds s: " . $this->output());
            }
            usleep(2_000);
        }
        return $this;
    }

    private static function isLoadedByIni(): bool
    {
        static $loaded = null;
        return $loaded ??= self::php(['-r', 'exit(extension_loaded("write_buffer") ? 0 : 1);'])->exitCode === 0;
    }
}
