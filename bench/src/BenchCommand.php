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
        $sections = [new Sections\Adding(), new Sections\EndToEnd(), new Sections\Latency(), new Sections\Memory(), new Sections\Idle(), new Sections\Recovery()];
        $names = array_map(static fn (Sections\Section $section): string => $section->name(), $sections);
        $unknown = array_diff($only ?? [], $names);
        if ($runs === false || $unknown !== []) {
            $output->writeln($runs === false ? '<error>--runs takes a number from 1 to 100.</error>' : '<error>No section is named ' . implode(', ', $unknown) . '; there are ' . implode(', ', $names) . '.</error>');

            return Command::INVALID;
        }
        $run = new Run($quick, $quick ? 1 : $runs, $output);
        $figures = new Figures();
        $machine = Machine::facts();
        foreach ($machine as $name => $fact) {
            $output->writeln("$name: $fact");
        }
        $begun = hrtime(true);
        foreach ($sections as $section) {
            if ($only !== null && !in_array($section->name(), $only, true)) {
                continue;
            }
            $output->writeln("\n<info>{$section->name()}</info>");
            $section->measure($run, $figures);
            $this->table($output, $figures->of($section->name()));
        }
        $aims = $this->aims($output, $figures);
        $directory = (string) $input->getOption('out');
        is_dir($directory) || mkdir($directory, 0755, true);
        file_put_contents("$directory/results.json", json_encode(
            ['machine' => $machine, 'quick' => $quick, 'runs' => $run->runs, 'figures' => $figures->toArray(), 'aims' => $aims],
            JSON_PRETTY_PRINT | JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_THROW_ON_ERROR,
        ) . "\n");
        $output->writeln(sprintf("\nresults: %s/results.json, after %.0f s", $directory, (hrtime(true) - $begun) / 1e9));

        return Command::SUCCESS;
    }

    /** @param list<Figure> $figures */
    private function table(OutputInterface $output, array $figures): void
    {
        $table = (new Table($output))->setHeaders(['subject', 'median', 'unit', 'spread', '']);
        foreach ($figures as $figure) {
            $table->addRow([$figure->subject, self::number($figure->median()), $figure->unit, sprintf('%.0f %%', $figure->spread() * 100), $figure->note]);
        }
        $table->render();
    }

    /** @return list<array<string, mixed>> */
    private function aims(OutputInterface $output, Figures $figures): array
    {
        $output->writeln("\n<info>aims</info>");
        $table = (new Table($output))->setHeaders(['figure', 'aim', 'measured', '']);
        $all = [];
        foreach (Aim::all() as $aim) {
            $value = $aim->value($figures);
            if ($value === null) {
                continue;
            }
            $bound = ($aim->atMost ? '≤ ' : '≥ ') . $aim->bound;
            $table->addRow([$aim->text, $bound, self::number($value), $aim->isMetBy($value) ? 'met' : 'missed']);
            $all[] = ['aim' => $aim->text, 'bound' => $bound, 'value' => $value, 'met' => $aim->isMetBy($value)];
        }
        $table->render();

        return $all;
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
