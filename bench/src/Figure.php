<?php

declare(strict_types=1);

namespace WriteBuffer\Bench;

/** What several runs gave for one thing. */
final class Figure
{
    /** @param non-empty-list<float> $samples one a run */
    public function __construct(
        public readonly string $section,
        public readonly string $subject,
        public readonly string $unit,
        public readonly array $samples,
        public readonly string $note = '',
    ) {
    }

    /** The same under another name. */
    public function as(string $subject, string $note): self
    {
        return new self($this->section, $subject, $this->unit, $this->samples, $note);
    }

    /**
     * The ratio to another figure, round by round: a slow minute of the machine hits both. Where
     * one has fewer samples, its median stands for all.
     */
    public function over(self $other): self
    {
        $isPaired = count($this->samples) === count($other->samples);
        $ratio = static fn (float $own, float $others): float => $own / $others;
        $samples = $isPaired ? array_map($ratio, $this->samples, $other->samples) : [$this->median() / $other->median()];

        return new self($this->section, "$this->subject ÷ $other->subject", '', $samples);
    }

    public function median(): float
    {
        $sorted = $this->samples;
        sort($sorted);
        $middle = intdiv(count($sorted), 2);

        return count($sorted) % 2 === 1 ? $sorted[$middle] : ($sorted[$middle - 1] + $sorted[$middle]) / 2;
    }

    /** Largest less smallest sample, as a share of the median. */
    public function spread(): float
    {
        return $this->median() === 0.0 ? 0.0 : (max($this->samples) - min($this->samples)) / $this->median();
    }
}
