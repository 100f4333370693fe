<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Sections;

use RuntimeException;
use WriteBuffer\Bench\Figure;
use WriteBuffer\Bench\Figures;
use WriteBuffer\Bench\Flow\Bitstamp;
use WriteBuffer\Bench\Run;

/** Groups a second that the database has confirmed: matches, or whatever the real exchange stores at once. */
final class EndToEnd implements Section
{
    private const FORMS = ['text', 'prepared', 'load-data'];
    private const OURS = 'WriteBuffer, journal process';

    /** @var array<int, string> what the database has to hold after that many groups */
    private array $expected = [];
    /** Groups a transaction that the writer had on average. */
    private ?int $batch = null;

    public function __construct(private readonly string $directory)
    {
    }

    public function name(): string
    {
        return 'end-to-end';
    }

    public function measure(Run $run, Figures $figures): void
    {
        $size = $run->size(30_000, 6_000);
        $this->flow($run, $figures, 'synthetic flow', 'matches/s', ['name' => 'synthetic', 'size' => $size]);
        $sample = (string) getenv('BENCH_SAMPLE');
        if ($sample === '') {
            $figures->miss($this->name(), 'Bitstamp flow', 'not measured: examples/spot-backend/bin/fetch-sample could not fetch the sample');

            return;
        }
        // It goes three times as fast, and has groups enough.
        $size = $run->size(100_000, 20_000);
        $tape = "$this->directory/bitstamp-$size.tape";
        $run->children("matching the Bitstamp sample, $size groups", 'tape', ['sample' => $sample, 'tape' => $tape, 'skip' => Bitstamp::SKIP, 'groups' => $size], 1);
        $this->flow($run, $figures, 'Bitstamp flow', 'groups/s', ['name' => 'bitstamp', 'size' => $size, 'tape' => $tape]);
    }

    /** @param array{name: string, size: int, tape?: string} $flow */
    private function flow(Run $run, Figures $figures, string $name, string $unit, array $flow): void
    {
        // What takes a transaction each, or a sync, is given the first tenth, on the same tables.
        $short = ['take' => intdiv($flow['size'], 10)];
        $loses = 'a crash loses what is collected';
        // Those that are compared come one after the other.
        $all = [
            self::OURS => [['peer' => 'write-buffer', 'journal' => 'process'], 'a power cut loses what is pending'],
            'ceiling, text' => [['peer' => 'ceiling', 'form' => 'text'], ''],
            'ceiling, load-data' => [['peer' => 'ceiling', 'form' => 'load-data'], ''],
            'ceiling, prepared' => [['peer' => 'ceiling', 'form' => 'prepared'], ''],
            'PHP buffer, 100 rows' => [['peer' => 'php-buffer', 'size' => 100], $loses],
            'PHP buffer, 500 rows' => [['peer' => 'php-buffer', 'size' => 500], $loses],
            'WriteBuffer, journal off' => [['peer' => 'write-buffer', 'journal' => 'off'], 'a crash loses what is pending'],
            'WriteBuffer, journal interval' => [['peer' => 'write-buffer', 'journal' => 'interval'], 'a power cut loses the last 100 ms'],
            'WriteBuffer, journal always' => [['peer' => 'write-buffer', 'journal' => 'always'] + $short, 'nothing is lost'],
            'PDO, one transaction each' => [['peer' => 'pdo'] + $short, 'nothing is lost'],
            'Laravel upsert, 500 groups' => [['peer' => 'laravel-upsert'], $loses],
            'bulk CASE update, 500 groups' => [['peer' => 'bulk-case'], $loses],
            'Redis list and a worker' => [['peer' => 'redis-list'], 'a crash loses or repeats what the worker holds'],
        ];
        [$this->expected, $this->batch] = [[], null];
        $subjects = [];
        foreach ($all as $subject => [$peer, $note]) {
            $subjects["$name: $subject"] = [
                fn (): array => ['flow' => $flow] + $peer + ($peer['peer'] === 'ceiling' ? $this->loader() : []),
                function (array $answers) use ($figures, $name, $subject, $unit, $note): void {
                    $this->compare(end($answers));
                    $this->add($figures, "$name: $subject", $unit, $answers, str_starts_with($subject, 'ceiling') ? "$this->batch groups a transaction; no checkpoint" : $note);
                    $subject === self::OURS ? $this->look($figures, $name, $answers) : $this->ceiling($figures, $name);
                },
            ];
        }
        $run->rounds($this->name(), 'end-to-end', $subjects);
    }

    /** @return array{size: int} a loader sends batches of the size that the writer had */
    private function loader(): array
    {
        return ['size' => $this->batch ?? throw new RuntimeException('the size of its batches is not known: ' . self::OURS . ' was not measured')];
    }

    /** @param array<string, mixed> $answer */
    private function compare(array $answer): void
    {
        $expected = $this->expected[$answer['groups']] ??= $answer['fingerprint'];
        if ($answer['fingerprint'] !== $expected) {
            throw new RuntimeException("it wrote something else than the first one: {$answer['fingerprint']} and not $expected");
        }
    }

    /** @param non-empty-list<array<string, mixed>> $answers */
    private function add(Figures $figures, string $subject, string $unit, array $answers, string $note): void
    {
        $rates = array_map(static fn (array $answer): float => $answer['groups'] / $answer['seconds'], $answers);
        $matches = $answers[0]['matches'] === $answers[0]['groups'] ? '' : sprintf('%.1f %% are matches', 100 * $answers[0]['matches'] / $answers[0]['groups']);
        $figures->add(new Figure($this->name(), $subject, $unit, $rates, implode('; ', array_filter([$matches, $note]))));
    }

    /** @param non-empty-list<array<string, mixed>> $answers of the writer */
    private function look(Figures $figures, string $name, array $answers): void
    {
        // The first batch was there to connect.
        $this->batch ??= (int) ceil($answers[0]['groups'] / max(1, $answers[0]['facts']['stats']['batches']['count'] - 1));
        $shares = array_map(static fn (array $answer): float => $answer['applying_seconds'] / $answer['seconds'], $answers);
        $figures->add(new Figure($this->name(), "$name: PHP's share", 'of wall time', $shares, 'in add, journal process'));
    }

    /** The best of its forms. */
    private function ceiling(Figures $figures, string $name): void
    {
        $medians = array_filter(array_combine(self::FORMS, array_map(static fn (string $form): ?float => $figures->median("end-to-end/$name: ceiling, $form"), self::FORMS)));
        if ($medians !== []) {
            $best = (string) array_search(max($medians), $medians, true);
            $figures->add($figures->get("end-to-end/$name: ceiling, $best")->as("$name: ceiling", "the best, $best"));
        }
    }
}
