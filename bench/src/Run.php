<?php

declare(strict_types=1);

namespace WriteBuffer\Bench;

use Closure;
use RuntimeException;
use Symfony\Component\Console\Formatter\OutputFormatter;
use Symfony\Component\Console\Output\OutputInterface;
use Throwable;

/** How much is measured, and the processes that measure. */
final class Run
{
    private bool $isWhole = true;

    public function __construct(
        public readonly bool $isQuick,
        public readonly int $runs,
        private readonly OutputInterface $progress,
        private readonly Figures $figures,
    ) {
    }

    /** One of two sizes. */
    public function size(int $full, int $quick): int
    {
        return $this->isQuick ? $quick : $full;
    }

    /** Whether all has been measured that was begun. */
    public function isWhole(): bool
    {
        return $this->isWhole;
    }

    /**
     * Does what may fail, without taking along what was measured before or comes behind.
     *
     * @param Closure(): void $measure
     */
    public function attempt(string $section, string $subject, Closure $measure): bool
    {
        try {
            $measure();

            return true;
        } catch (Throwable $error) {
            $this->isWhole = false;
            $this->figures->miss($section, $subject, 'FAILED: ' . $error->getMessage());
            $this->progress->writeln('<error>' . OutputFormatter::escape("$subject failed: {$error->getMessage()}") . '</error>');

            return false;
        }
    }

    /**
     * Runs each subject's child once a round, with nothing else beside: what the machine does
     * meanwhile then hits all alike. Every other round goes backwards, so that nobody always
     * comes behind the same one.
     *
     * @param array<string, array{0: Closure(): array<string, mixed>, 1: Closure(non-empty-list<array<string, mixed>>): void, 2?: list<string>}> $subjects
     *   by name: what the child is told; what to do with its answers so far; flags of PHP
     */
    public function rounds(string $section, string $script, array $subjects): void
    {
        $answers = [];
        for ($round = 1; $round <= $this->runs; $round++) {
            foreach ($round % 2 === 1 ? $subjects : array_reverse($subjects, true) as $name => [$spec, $answered]) {
                $flags = $subjects[$name][2] ?? [];
                $isFine = $this->attempt($section, $name, function () use ($name, $script, $spec, $answered, $flags, $round, &$answers): void {
                    $answers[$name][] = $this->child($name, $round, $this->runs, $script, $spec(), $flags);
                    $answered($answers[$name]);
                });
                if (!$isFine) {
                    unset($subjects[$name]);
                }
            }
        }
    }

    /**
     * Runs one child some times, one after the other.
     *
     * @param array<string, mixed> $spec
     * @return non-empty-list<array<string, mixed>> what it printed, one a run
     */
    public function children(string $what, string $script, array $spec, ?int $runs = null): array
    {
        $runs ??= $this->runs;

        return array_map(fn (int $run): array => $this->child($what, $run, $runs, $script, $spec, []), range(1, $runs));
    }

    /** Whether children have an extension of PHP. */
    public function hasExtension(string $name): bool
    {
        $process = proc_open([...self::php(), '-r', 'exit((int) !extension_loaded($argv[1]));', $name], [], $pipes);

        return proc_close($process) === 0;
    }

    /** @return list<string> PHP with all that is measured, and with opcache, as in production; without JIT */
    public static function php(): array
    {
        $extensions = array_filter(explode(PATH_SEPARATOR, (string) getenv('BENCH_EXTENSIONS')));
        $flags = array_merge(...array_map(static fn (string $name): array => ['-d', "extension=$name"], $extensions));

        return [PHP_BINARY, ...$flags, '-d', 'memory_limit=8G', '-d', 'mysqli.allow_local_infile=1', '-d', 'zend.assertions=-1', '-d', 'opcache.enable_cli=1', '-d', 'opcache.jit=disable'];
    }

    /**
     * @param array<string, mixed> $spec
     * @param list<string> $flags
     * @return array<string, mixed>
     */
    private function child(string $what, int $run, int $runs, string $script, array $spec, array $flags): array
    {
        $this->progress->writeln("  $what ($run of $runs)");
        $command = ['timeout', '--foreground', '1800', ...self::php(), ...$flags, dirname(__DIR__) . "/children/$script.php", json_encode($spec, JSON_THROW_ON_ERROR)];
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
