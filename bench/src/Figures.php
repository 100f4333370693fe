<?php

declare(strict_types=1);

namespace WriteBuffer\Bench;

/** All figures of a run of the benchmark, by section and subject. */
final class Figures
{
    /** @var array<string, Figure> */
    private array $all = [];

    public function add(Figure $figure): void
    {
        $this->all["$figure->section/$figure->subject"] = $figure;
    }

    /** @return list<Figure> */
    public function of(string $section): array
    {
        return array_values(array_filter($this->all, static fn (Figure $figure): bool => $figure->section === $section));
    }

    public function median(string $name): ?float
    {
        return isset($this->all[$name]) ? $this->all[$name]->median() : null;
    }

    /** @return list<array<string, mixed>> */
    public function toArray(): array
    {
        return array_map(static fn (Figure $figure): array => [
            'section' => $figure->section,
            'subject' => $figure->subject,
            'unit' => $figure->unit,
            'median' => $figure->median(),
            'samples' => $figure->samples,
            'note' => $figure->note,
        ], array_values($this->all));
    }
}
