<?php

declare(strict_types=1);

namespace WriteBuffer\Bench;

use RuntimeException;
use Symfony\Component\Console\Output\OutputInterface;

/** How much is measured, and the processes that measure. */
final class Run
{
    public function __construct(
        public readonly bool $isQuick,
        public readonly int $runs,
        private readonly OutputInterface $progress,
    ) {
    }

    /** One of two sizes. */
    public function size(int $full, int $quick): int
    {
        return $this->isQuick ? $quick : $full;
    }

    /**
     * Runs a child once for each sample, with nothing else beside.
     *
     * @param array<string, mixed> $spec
     * @param list<string> $flags of PHP
     * @return non-empty-list<array<string, mixed>> what it printed, one a run
     */
    public function children(string $what, string $script, array $spec, array $flags = [], ?int $runs = null): array
    {
        $answers = [];
        for ($run = 1; $run <= ($runs ?? $this->runs); $run++) {
            $this->progress->writeln(sprintf('  %s (%d of %d)', $what, $run, $runs ?? $this->runs), OutputInterface::VERBOSITY_NORMAL);
            $answers[] = $this->child($script, $spec, $flags);
        }

        return $answers;
    }

    /**
     * @param array<string, mixed> $spec
     * @param list<string> $flags
     * @return array<string, mixed>
     */
    private function child(string $script, array $spec, array $flags): array
    {
        $extensions = array_merge(...array_map(static fn (string $name): array => ['-d', "extension=$name"], array_filter(explode(PATH_SEPARATOR, (string) getenv('BENCH_EXTENSIONS')))));
        $command = [PHP_BINARY, ...$extensions, '-d', 'memory_limit=8G', '-d', 'mysqli.allow_local_infile=1', '-d', 'zend.assertions=-1', ...$flags, dirname(__DIR__) . "/children/$script.php", json_encode($spec, JSON_THROW_ON_ERROR)];
        $process = proc_open($command, [1 => ['pipe', 'w'], 2 => ['file', 'php://stderr', 'w']], $pipes);
        $output = (string) stream_get_contents($pipes[1]);
        $status = proc_close($process);
        $answer = json_decode(substr((string) strrchr("\n" . rtrim($output), "\n"), 1), true);
        if (!is_array($answer)) {
            throw new RuntimeException("children/$script.php " . json_encode($spec) . " ended with $status and no answer: $output");
        }

        return $answer;
    }
}
