<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Database\DatabaseManager;
use WriteBuffer\Laravel\BufferSettings;
use WriteBuffer\Laravel\Doctor\Check;
use WriteBuffer\Laravel\Doctor\ConfigCheck;
use WriteBuffer\Laravel\Doctor\DatabaseCheck;
use WriteBuffer\Laravel\Doctor\DeadlineCheck;
use WriteBuffer\Laravel\Doctor\DirectoryCheck;
use WriteBuffer\Laravel\Doctor\ExtensionCheck;
use WriteBuffer\Laravel\Doctor\Finding;
use WriteBuffer\Laravel\Extension;

final class DoctorCommand extends Command
{
    protected $signature = 'write-buffer:doctor {--json : Print JSON}';
    protected $description = 'Check the extension, databases, directories and timeouts; exits with 1 when something is wrong';

    public function handle(Repository $config, Extension $extension, DatabaseManager $databases): int
    {
        $findings = [];
        foreach (self::checks($config, $extension, $databases) as $check) {
            array_push($findings, ...$check->findings());
        }
        $faults = count(array_filter($findings, static fn (Finding $finding): bool => $finding->level === 'fault'));
        if ($this->option('json')) {
            $this->line((string) json_encode(['ok' => $faults === 0, 'findings' => $findings], JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES));
        } else {
            foreach ($findings as $finding) {
                $style = ['ok' => 'info', 'note' => 'comment', 'fault' => 'error'][$finding->level];
                $this->line(sprintf('<%s>%-5s</> %s: %s', $style, $finding->level, $finding->subject, self::escaped($finding->text)));
            }
            $this->line($faults === 0 ? 'Nothing is wrong.' : "$faults fault(s).");
        }
        return $faults === 0 ? self::SUCCESS : self::FAILURE;
    }

    /** @return list<Check> */
    private static function checks(Repository $config, Extension $extension, DatabaseManager $databases): array
    {
        $buffers = BufferSettings::readable($config);
        $checks = [new ConfigCheck($config), new ExtensionCheck($extension, $buffers, BufferSettings::isSync($config))];
        foreach ($buffers as $settings) {
            $checks[] = new DatabaseCheck($settings, $databases);
            $without = 'refused rows, and rows that cannot be written at the end of a process, are lost with a message; set journal_dir';
            $checks[] = new DirectoryCheck("journal_dir of $settings->name", $settings->journalDirectory(), $without);
        }
        $path = $config->get('write-buffer.status.path');
        $checks[] = new DirectoryCheck('status.path', is_string($path) && $path !== '' ? $path : null, 'write-buffer:status shows nothing');
        $checks[] = new DeadlineCheck($config, $buffers);
        return $checks;
    }

    private static function escaped(string $text): string
    {
        return \Symfony\Component\Console\Formatter\OutputFormatter::escape($text);
    }
}
