<?php

declare(strict_types=1);

namespace WriteBuffer\Bench;

/** A ratio of two figures of one run, or one figure, and what it should be. */
final class Aim
{
    private function __construct(
        public readonly string $text,
        private readonly string $numerator,
        private readonly ?string $denominator,
        private readonly float $bound,
        private readonly bool $atMost,
    ) {
    }

    /** @return list<self> */
    public static function all(): array
    {
        $order = 'adding/addOrder, 9 columns';

        return [
            self::atMost('addOrder of 9 columns, journal process ÷ the PHP buffer', "$order: WriteBuffer, journal process", "$order: PHP buffer", 0.4),
            self::atMost('the same ÷ an empty extension method', "$order: WriteBuffer, journal process", "$order: empty method", 4),
            self::atMost('addBalanceUpdate, 2 deltas, journal process ÷ the PHP buffer', 'adding/addBalanceUpdate, 2 deltas: WriteBuffer, journal process', 'adding/addBalanceUpdate, 2 deltas: PHP buffer', 0.3),
            self::atMost('journal process ÷ journal off, per add', "$order: WriteBuffer, journal process", "$order: WriteBuffer, journal off", 1.15),
            self::atMost('add at 1,000,000 pending ÷ at 1,000', "$order: WriteBuffer, 1,000,000 pending", "$order: WriteBuffer, 1,000 pending", 1.2),
            ...self::endToEnd('synthetic flow', 'matches'),
            ...self::endToEnd('Bitstamp flow', 'groups'),
            self::atMost('p99 from add to commit at the offered rate, journal process', 'latency/journal process: p99', null, 50),
            self::atMost('memory per pending row ÷ its raw bytes', 'memory/a pending row', 'memory/raw bytes of a row', 2),
            self::atMost('RSS after 10 million matches ÷ after 1 million', 'memory/RSS after 10,000,000 matches', 'memory/RSS after 1,000,000 matches', 1.05),
            self::atMost('wake-ups of an idle buffer a second', 'idle/wake-ups', null, 2),
            self::atMost("php -r '' with ÷ without the extension", "idle/php -r '' with", "idle/php -r '' without", 1.1),
        ];
    }

    /** @return list<self> */
    private static function endToEnd(string $flow, string $what): array
    {
        $ours = "end-to-end/$flow: WriteBuffer, journal process";

        return [
            self::atLeast("$flow: confirmed $what/s, journal process ÷ the ceiling loader", $ours, "end-to-end/$flow: ceiling", 0.95),
            self::atLeast("$flow: the same ÷ one transaction each through PDO", $ours, "end-to-end/$flow: PDO, one transaction each", 20),
            self::atLeast("$flow: the same ÷ the PHP buffer at its default (100)", $ours, "end-to-end/$flow: PHP buffer, 100 rows", 3),
            self::atMost("$flow: share of wall time that PHP spends adding at full speed", "end-to-end/$flow: PHP's share", null, 0.05),
        ];
    }

    /** The figure; null where this run did not measure it. Of a ratio, the median of the rounds' ratios. */
    public function value(Figures $figures): ?float
    {
        $numerator = $figures->get($this->numerator);
        if ($this->denominator === null || $numerator === null) {
            return $numerator?->median();
        }

        return $figures->get($this->denominator) === null ? null : $numerator->over($figures->get($this->denominator))->median();
    }

    public function bound(): string
    {
        return ($this->atMost ? '≤ ' : '≥ ') . $this->bound;
    }

    public function isMetBy(float $value): bool
    {
        return $this->atMost ? $value <= $this->bound : $value >= $this->bound;
    }

    private static function atMost(string $text, string $numerator, ?string $denominator, float $bound): self
    {
        return new self($text, $numerator, $denominator, $bound, true);
    }

    private static function atLeast(string $text, string $numerator, ?string $denominator, float $bound): self
    {
        return new self($text, $numerator, $denominator, $bound, false);
    }
}
