<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Contracts\Config\Repository;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Laravel\BufferSettings;
use WriteBuffer\Laravel\Quarantine\QuarantineFile;
use WriteBuffer\Laravel\Status\Board;
use WriteBuffer\Laravel\Status\ProcessStatus;
use WriteBuffer\Laravel\Status\Reading;

final class StatusCommand extends Command
{
    private const COLUMNS = ['Pid', 'Command', 'Buffer', 'Pending', 'Oldest ms', 'Committed', 'p99 ms', 'Quarantined', 'Failures', 'Journal', 'Seen s', 'Last error'];
    private const TEXT_SHOWN = 60;

    protected $signature = 'write-buffer:status
        {--watch= : Show it anew every so many seconds}
        {--json : Print JSON once}';
    protected $description = 'Show the buffers of all processes of this host, as of their last drain';

    public function handle(Board $board, Repository $config): int
    {
        if ($this->option('json')) {
            $this->line($this->json($board->read(), $config));
            return self::SUCCESS;
        }
        $watch = $this->option('watch') ?? '0';
        if (!is_numeric($watch) || $watch < 0) {
            $this->error("--watch is \"$watch\"; it takes a number of seconds.");
            return self::INVALID;
        }
        $seconds = (float) $watch;
        do {
            if ($seconds > 0) {
                $this->output->write("\033[H\033[2J");
            }
            $this->show($board->read(), $config);
            usleep((int) ($seconds * 1e6));
        } while ($seconds > 0);
        return self::SUCCESS;
    }

    private function show(Reading $reading, Repository $config): void
    {
        $rows = [];
        foreach ($reading->processes as $process) {
            foreach ($process->buffers as $name => $stats) {
                $rows[] = self::row($process, (string) $name, $stats);
            }
        }
        if ($rows === []) {
            $this->line('No process of this host has a buffer open, or none has come to a drain yet.');
        } else {
            $this->table(self::COLUMNS, $rows);
        }
        if ($reading->unreadable !== []) {
            $this->warn(count($reading->unreadable) . ' process(es) of another user are not shown; run this as their user, or as root.');
        }
        foreach (self::quarantined($config) as $name => $groups) {
            if ($groups === null) {
                $this->warn("Buffer $name: its quarantine cannot be read; run this as the user whose processes write, or as root.");
            } elseif ($groups > 0) {
                $this->warn("Buffer $name: $groups group(s) in quarantine; see php artisan write-buffer:quarantine list --buffer=$name");
            }
        }
    }

    /**
     * @param array<string, mixed> $stats
     * @return list<string>
     */
    private static function row(ProcessStatus $process, string $name, array $stats): array
    {
        $committed = array_sum(array_column($stats['tables'] ?? [], 'committed'));
        return [
            (string) $process->pid,
            mb_strimwidth($process->command, 0, self::TEXT_SHOWN, '…'),
            $name,
            (string) ($stats['pending']['rows'] ?? 0),
            (string) round($stats['pending']['oldest_ms'] ?? 0),
            (string) $committed,
            (string) round($stats['latency_ms']['p99'] ?? 0, 1),
            (string) ($stats['quarantined'] ?? 0),
            (string) ($stats['failures'] ?? 0),
            ($stats['journal']['mode'] ?? '-') . ' ' . intdiv((int) ($stats['journal']['bytes'] ?? 0), 1_048_576) . ' MiB',
            (string) max(0, (int) (microtime(true) - $process->at)),
            mb_strimwidth((string) ($stats['halted'] ?? $stats['last_error'] ?? ''), 0, self::TEXT_SHOWN, '…'),
        ];
    }

    private function json(Reading $reading, Repository $config): string
    {
        return (string) json_encode([
            'host' => gethostname(),
            'processes' => array_map(static fn (ProcessStatus $process): array => $process->toArray(), $reading->processes),
            'unreadable' => $reading->unreadable,
            'quarantined_groups' => (object) self::quarantined($config),
        ], JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES | JSON_PARTIAL_OUTPUT_ON_ERROR);
    }

    /** @return array<string, int|null> groups by buffer; null: the file cannot be read */
    private static function quarantined(Repository $config): array
    {
        $groups = [];
        foreach (BufferSettings::readable($config) as $settings) {
            $file = QuarantineFile::of($settings);
            try {
                $groups[$settings->name] = $file === null ? 0 : iterator_count($file->groups());
            } catch (ConfigurationException) {
                $groups[$settings->name] = null;
            }
        }
        return $groups;
    }
}
