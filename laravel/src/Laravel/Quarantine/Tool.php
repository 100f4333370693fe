<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Quarantine;

use Symfony\Component\Process\ExecutableFinder;
use Symfony\Component\Process\Process;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Laravel\BufferSettings;

/**
 * The command-line tool `write-buffer`: it alone changes quarantine files, under the lock
 * that running buffers take.
 */
final class Tool
{
    public function __construct(private readonly string $binary)
    {
    }

    public function path(): ?string
    {
        return str_contains($this->binary, '/')
            ? (is_executable($this->binary) ? $this->binary : null)
            : (new ExecutableFinder())->find($this->binary);
    }

    /**
     * Runs `write-buffer quarantine …` for a buffer.
     *
     * @param list<string> $arguments
     * @param callable(string): void $print
     * @throws ConfigurationException when the tool is not there
     */
    public function run(BufferSettings $settings, array $arguments, callable $print): int
    {
        $path = $this->path() ?? throw new ConfigurationException(
            "The command-line tool [$this->binary] is not installed here, and it alone replays and discards:"
            . ' build it with `make cli`, and set WRITE_BUFFER_BINARY to its path.'
        );
        $options = $settings->options();
        $tables = (string) tempnam(sys_get_temp_dir(), 'write-buffer');
        try {
            file_put_contents($tables, json_encode((object) $options['tables'], JSON_THROW_ON_ERROR));
            $command = [$path, '--name', $settings->name, '--journal-dir', (string) $settings->journalDirectory(), 'quarantine', ...$arguments];
            $replays = $arguments[0] === 'replay' ? ['--tables', $tables] : [];
            // The DSN goes by the environment: arguments are shown to everyone who lists processes.
            $process = new Process([...$command, ...$replays], null, ['WRITE_BUFFER_DSN' => $options['dsn']], null, null);
            return $process->run(static fn (string $type, string $output) => $print($output));
        } finally {
            unlink($tables);
        }
    }
}
