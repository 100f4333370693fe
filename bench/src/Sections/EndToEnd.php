<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Sections;

use RuntimeException;
use WriteBuffer\Bench\Figure;
use WriteBuffer\Bench\Figures;
use WriteBuffer\Bench\Run;

/** Matches a second that the database has confirmed. */
final class EndToEnd implements Section
{
    public function name(): string
    {
        return 'end-to-end';
    }

    public function measure(Run $run, Figures $figures): void
    {
        $matches = $run->size(60_000, 10_000);
        $slow = intdiv($matches, 10);
        $buffered = $run->children('WriteBuffer, journal process', 'end-to-end', self::spec($matches, ['peer' => 'write-buffer', 'journal' => 'process']));
        $expected = [$matches => $buffered[0]['fingerprint']];
        $this->add($figures, 'WriteBuffer, journal process', $buffered);
        $figures->add(new Figure('end-to-end share', 'WriteBuffer, journal process', 'of wall time', array_map(static fn (array $answer): float => $answer['applying_seconds'] / $answer['seconds'], $buffered)));

        // The ceiling has batches of the size that the writer chose.
        $stats = $buffered[0]['facts']['stats'];
        $size = max(1, (int) round($matches / max(1, $stats['batches']['count'])));
        $ceilings = [];
        foreach (['text', 'prepared', 'load-data'] as $form) {
            $ceilings[$form] = $run->children("ceiling, $form, $size matches a transaction", 'end-to-end', self::spec($matches, ['peer' => 'ceiling', 'form' => $form, 'size' => $size]));
            $this->add($figures, "ceiling, $form", $ceilings[$form], "$size matches a transaction");
        }
        $best = array_reduce(array_keys($ceilings), static fn (?string $best, string $form): string => $best === null || $figures->median("end-to-end/ceiling, $form") > $figures->median("end-to-end/ceiling, $best") ? $form : $best);
        $this->add($figures, 'ceiling', $ceilings[$best], "the best, $best");

        $peers = [
            'WriteBuffer, journal off' => [$matches, ['peer' => 'write-buffer', 'journal' => 'off'], 'a crash loses what is pending'],
            'WriteBuffer, journal interval' => [$matches, ['peer' => 'write-buffer', 'journal' => 'interval'], ''],
            'WriteBuffer, journal always' => [$slow, ['peer' => 'write-buffer', 'journal' => 'always'], ''],
            'PDO, one transaction a match' => [$slow, ['peer' => 'pdo'], ''],
            'Laravel upsert, 500 matches' => [$matches, ['peer' => 'laravel-upsert'], 'a crash loses what is collected'],
            'bulk CASE update, 500 matches' => [$matches, ['peer' => 'bulk-case'], 'a crash loses what is collected'],
            'PHP buffer, 100' => [$matches, ['peer' => 'php-buffer', 'size' => 100], 'a crash loses what is pending'],
            'PHP buffer, 500' => [$matches, ['peer' => 'php-buffer', 'size' => 500], 'a crash loses what is pending'],
            'Redis list and a worker' => [$matches, ['peer' => 'redis-list'], 'a crash loses or repeats what the worker holds'],
        ];
        foreach ($peers as $subject => [$count, $spec, $note]) {
            $answers = $run->children($subject, 'end-to-end', self::spec($count, $spec));
            $this->add($figures, $subject, $answers, $note);
            $expected[$count] ??= $answers[0]['fingerprint'];
            foreach ([...$answers, ...$buffered, ...array_merge(...array_values($ceilings))] as $answer) {
                if ($answer['fingerprint'] !== $expected[$answer['matches']]) {
                    throw new RuntimeException("$subject wrote something else: {$answer['fingerprint']} and not {$expected[$answer['matches']]}");
                }
            }
        }
    }

    /**
     * @param array<string, mixed> $peer
     * @return array<string, mixed>
     */
    private static function spec(int $matches, array $peer): array
    {
        return $peer + ['flow' => ['name' => 'synthetic', 'matches' => $matches]];
    }

    /** @param non-empty-list<array<string, mixed>> $answers */
    private function add(Figures $figures, string $subject, array $answers, string $note = ''): void
    {
        $rates = array_map(static fn (array $answer): float => $answer['matches'] / $answer['seconds'], $answers);
        $figures->add(new Figure($this->name(), $subject, 'matches/s', $rates, $note));
    }
}
