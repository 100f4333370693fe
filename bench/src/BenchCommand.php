<?php

declare(strict_types=1);

namespace WriteBuffer\Bench;

use Symfony\Component\Console\Command\Command;
use Symfony\Component\Console\Helper\Table;
use Symfony\Component\Console\Input\InputInterface;
use Symfony\Component\Console\Input\InputOption;
use Symfony\Component\Console\Output\OutputInterface;

/** Measures, prints tables, and stores what was measured. */
final class BenchCommand extends Command
{
    protected function configure(): void
    {
        $this->setName('bench')
            ->setDescription('Measures WriteBuffer beside what a user would take instead, in one run.')
            ->addOption('quick', null, InputOption::VALUE_NONE, 'Small sizes and one run of each: a look, not a measurement')
            ->addOption('runs', null, InputOption::VALUE_REQUIRED, 'Runs of each subject; medians are compared', '5')
            ->addOption('only', null, InputOption::VALUE_REQUIRED, 'Sections, separated by commas: adding, end-to-end, latency, memory, idle, recovery')
            ->addOption('out', null, InputOption::VALUE_REQUIRED, 'Where results.json goes', 'target/bench');
    }

    protected function execute(InputInterface $input, OutputInterface $output): int
    {
        $quick = (bool) $input->getOption('quick');
        $runs = filter_var($input->getOption('runs'), FILTER_VALIDATE_INT, ['options' => ['min_range' => 1, 'max_range' => 100]]);
        $only = $input->getOption('only') === null ? null : explode(',', (string) $input->getOption('only'));
        $directory = (string) $input->getOption('out');
        $sections = [new Sections\Adding(), new Sections\EndToEnd($directory), new Sections\Latency(), new Sections\Memory(), new Sections\Idle(), new Sections\Recovery()];
        $names = array_map(static fn (Sections\Section $section): string => $section->name(), $sections);
        $unknown = array_diff($only ?? [], $names);
        if ($runs === false || $unknown !== []) {
            $output->writeln($runs === false ? '<error>--runs takes a number from 1 to 100.</error>' : '<error>No section is named ' . implode(', ', $unknown) . '; there are ' . implode(', ', $names) . '.</error>');

            return Command::INVALID;
        }
        if (!Machine::isDurable()) {
            $output->writeln('<error>The database does not sync its log and its binary log at each commit: its figures would say nothing. Set innodb_flush_log_at_trx_commit and sync_binlog to 1 and log_bin to ON, or leave WRITE_BUFFER_TEST_DSN unset.</error>');

            return Command::FAILURE;
        }
        is_dir($directory) || mkdir($directory, 0755, true);
        @unlink("$directory/results.json");
        $machine = Machine::facts();
        // After each figure: what was measured is there, however the run ends.
        $figures = new Figures(function () use (&$figures, &$run, $machine, $directory): void {
            $this->store("$directory/results.json", $machine, $run, $figures);
        });
        $run = new Run($quick, $quick ? 1 : $runs, $output, $figures);
        foreach ($machine as $name => $fact) {
            $output->writeln("$name: $fact");
        }
        $begun = hrtime(true);
        foreach ($sections as $section) {
            if ($only !== null && !in_array($section->name(), $only, true)) {
                continue;
            }
            $output->writeln(sprintf("\n<info>%s</info>, after %d s", $section->name(), intdiv(hrtime(true) - $begun, 1_000_000_000)));
            $run->attempt($section->name(), 'the rest of this section', static fn () => $section->measure($run, $figures));
            $this->table($output, $section->name(), $figures);
        }
        $this->aims($output, $figures);
        $output->writeln(sprintf("\nresults: %s/results.json, after %.0f s", $directory, (hrtime(true) - $begun) / 1e9));

        return $run->isWhole() ? Command::SUCCESS : Command::FAILURE;
    }

    /** @param array<string, string> $machine */
    private function store(string $file, array $machine, Run $run, Figures $figures): void
    {
        $aims = [];
        foreach (Aim::all() as $aim) {
            $value = $aim->value($figures);
            $value === null || $aims[] = ['aim' => $aim->text, 'bound' => $aim->bound(), 'value' => $value, 'met' => $aim->isMetBy($value)];
        }
        file_put_contents("$file.part", json_encode(
            ['machine' => $machine, 'quick' => $run->isQuick, 'runs' => $run->runs, 'figures' => $figures->toArray(), 'missing' => $figures->missing(), 'aims' => $aims],
            JSON_PRETTY_PRINT | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR,
        ) . "\n");
        rename("$file.part", $file);
    }

    private function table(OutputInterface $output, string $section, Figures $figures): void
    {
        $table = (new Table($output))->setHeaders(['subject', 'median', 'unit', 'spread', '']);
        foreach ($figures->of($section) as $figure) {
            $spread = count($figure->samples) > 1 ? sprintf('%.0f %%', $figure->spread() * 100) : '';
            $table->addRow([$figure->subject, self::number($figure->median()), $figure->unit, $spread, $figure->note]);
        }
        foreach ($figures->missing() as $missing) {
            $missing['section'] !== $section || $table->addRow([$missing['subject'], '–', '', '', mb_strimwidth($missing['why'], 0, 100, '…')]);
        }
        $table->render();
    }

    private function aims(OutputInterface $output, Figures $figures): void
    {
        $output->writeln("\n<info>aims</info>");
        $table = (new Table($output))->setHeaders(['figure', 'aim', 'measured', '']);
        foreach (Aim::all() as $aim) {
            $value = $aim->value($figures);
            $table->addRow($value === null
                ? [$aim->text, $aim->bound(), '–', 'not measured']
                : [$aim->text, $aim->bound(), self::number($value), $aim->isMetBy($value) ? 'met' : 'missed']);
        }
        $table->render();
    }

    private static function number(float $value): string
    {
        return number_format($value, match (true) {
            abs($value) >= 1_000 => 0,
            abs($value) >= 10 => 1,
            default => 3,
        });
    }
}
