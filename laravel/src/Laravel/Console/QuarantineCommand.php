<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Contracts\Config\Repository;
use Symfony\Component\Console\Output\OutputInterface;
use WriteBuffer\Exception\WriteBufferException;
use WriteBuffer\Laravel\BufferSettings;
use WriteBuffer\Laravel\Quarantine\Group;
use WriteBuffer\Laravel\Quarantine\QuarantineFile;
use WriteBuffer\Laravel\Quarantine\Tool;

/**
 * Listing and showing needs nothing but this; replaying and discarding is the tool's, whose
 * numbers these are.
 */
final class QuarantineCommand extends Command
{
    private const REASON_SHOWN = 100;

    protected $signature = 'write-buffer:quarantine
        {action=list : list, show, replay or discard}
        {numbers?* : Groups, as listed}
        {--buffer= : Name of the buffer; list: all, else the default one}
        {--all : All groups, for replay and discard}
        {--file= : Another file, such as BUFFER.spilled-….jsonl}
        {--yes : Discard without asking}
        {--json : Print JSON}';
    protected $description = 'List, show, replay or discard groups of rows that the database refused';

    public function handle(Repository $config): int
    {
        $numbers = (array) $this->argument('numbers');
        if (preg_grep('/^[1-9]\d*$/D', $numbers, PREG_GREP_INVERT) !== []) {
            return $this->usage('Groups are named by their numbers, as listed.');
        }
        if (in_array($this->argument('action'), ['replay', 'discard'], true) && ($numbers === []) !== (bool) $this->option('all')) {
            return $this->usage('Give either the numbers of groups, as listed, or --all.');
        }
        try {
            return match ($this->argument('action')) {
                'list' => $this->listed($config),
                'show' => $this->shown(BufferSettings::of($this->bufferName(), $config)),
                'replay' => $this->replayed(BufferSettings::of($this->bufferName(), $config), new Tool((string) $config->get('write-buffer.binary'))),
                'discard' => $this->discarded(BufferSettings::of($this->bufferName(), $config), new Tool((string) $config->get('write-buffer.binary'))),
                default => $this->usage("There is no action \"{$this->argument('action')}\"; it is list, show, replay or discard."),
            };
        } catch (WriteBufferException $error) {
            $this->error($error->getMessage());
            return self::FAILURE;
        }
    }

    private function listed(Repository $config): int
    {
        $names = match (true) {
            $this->bufferName() !== null => [$this->bufferName()],
            // A file is one buffer's.
            $this->option('file') !== null => [BufferSettings::defaultName($config)],
            default => BufferSettings::names($config),
        };
        $groups = [];
        $spilled = [];
        foreach ($names as $name) {
            $settings = BufferSettings::of($name, $config);
            $groups[$name] = [...($this->file($settings)?->groups() ?? [])];
            array_push($spilled, ...($this->option('file') === null ? QuarantineFile::spilled($settings) : []));
        }
        if ($this->option('json')) {
            $this->line((string) json_encode(['groups' => $groups, 'spilled' => $spilled], JSON_PRETTY_PRINT | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE));
        } else {
            $this->tabulate($groups);
            foreach ($spilled as $file) {
                $this->warn("Rows that could not be written when a process ended: $file; show or replay them with --file=$file");
            }
        }
        return array_filter($groups) === [] && $spilled === [] ? self::SUCCESS : self::FAILURE;
    }

    /** @param array<string, list<Group>> $groups */
    private function tabulate(array $groups): void
    {
        $rows = [];
        foreach ($groups as $name => $list) {
            foreach ($list as $group) {
                $rows[] = [$name, $group->number, $group->rowNumbers(), $group->tables(), mb_strimwidth($group->reason(), 0, self::REASON_SHOWN, '…')];
            }
        }
        if ($rows === []) {
            $this->line('No group is in quarantine.');
            return;
        }
        $this->table(['Buffer', 'N', 'Rows', 'Tables', 'Reason'], $rows);
    }

    private function shown(BufferSettings $settings): int
    {
        $wanted = array_map('intval', (array) $this->argument('numbers'));
        $found = [];
        foreach ($this->file($settings)?->groups() ?? [] as $group) {
            if ($wanted === [] || in_array($group->number, $wanted, true)) {
                $found[] = $group->number;
                $this->print($group);
            }
        }
        $missing = array_diff($wanted, $found);
        return $missing === [] ? self::SUCCESS : $this->usage('There is no group ' . implode(', ', $missing) . ' of buffer ' . $settings->name . '.');
    }

    private function print(Group $group): void
    {
        if ($this->option('json')) {
            $this->output->writeln($group->text, OutputInterface::OUTPUT_RAW);
            return;
        }
        $lines = ["$group->number: rows {$group->rowNumbers()}: {$group->reason()}"];
        foreach ($group->rows() as $row) {
            $lines[] = '    ' . ($row['table'] ?? '') . ' ' . ($row['change'] ?? '') . ' ' . json_encode($row['row'] ?? null, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES);
        }
        $this->output->writeln($lines, OutputInterface::OUTPUT_RAW);
    }

    private function replayed(BufferSettings $settings, Tool $tool): int
    {
        return $this->withTool($settings, $tool, ['replay', ...$this->chosen()]);
    }

    private function discarded(BufferSettings $settings, Tool $tool): int
    {
        $isSure = $this->option('yes') || ($tool->path() !== null && $this->confirm('These rows will be lost for good. Discard them?'));
        return $this->withTool($settings, $tool, ['discard', ...$this->chosen(), ...($isSure ? ['--yes'] : [])]);
    }

    /** @param list<string> $arguments */
    private function withTool(BufferSettings $settings, Tool $tool, array $arguments): int
    {
        $options = [...($this->option('file') === null ? [] : ['--file', (string) $this->option('file')]), ...($this->option('json') ? ['--json'] : [])];
        return $tool->run($settings, [...$arguments, ...$options], fn (string $text) => $this->output->write($text, false, OutputInterface::OUTPUT_RAW));
    }

    /** @return list<string> */
    private function chosen(): array
    {
        return $this->option('all') ? ['--all'] : array_map('strval', (array) $this->argument('numbers'));
    }

    private function bufferName(): ?string
    {
        return $this->option('buffer') === null ? null : (string) $this->option('buffer');
    }

    private function file(BufferSettings $settings): ?QuarantineFile
    {
        return $this->option('file') === null ? QuarantineFile::of($settings) : QuarantineFile::at((string) $this->option('file'));
    }

    private function usage(string $message): int
    {
        $this->error($message);
        return self::INVALID;
    }
}
