<?php

declare(strict_types=1);

namespace WriteBuffer\Bench;

use Closure;

/** All figures of a run of the benchmark, by section and subject. */
final class Figures
{
    /** @var array<string, Figure> */
    private array $all = [];
    /** @var list<array{section: string, subject: string, why: string}> */
    private array $missing = [];

    /** @param Closure(): void $changed called when there is more to store */
    public function __construct(private readonly Closure $changed)
    {
    }

    public function add(Figure $figure): void
    {
        $this->all["$figure->section/$figure->subject"] = $figure;
        ($this->changed)();
    }

    /** What should be here and was not measured. */
    public function miss(string $section, string $subject, string $why): void
    {
        unset($this->all["$section/$subject"]);
        $this->missing[] = ['section' => $section, 'subject' => $subject, 'why' => $why];
        ($this->changed)();
    }

    /** @return list<array{section: string, subject: string, why: string}> */
    public function missing(): array
    {
        return $this->missing;
    }

    /** @return list<Figure> */
    public function of(string $section): array
    {
        return array_values(array_filter($this->all, static fn (Figure $figure): bool => $figure->section === $section));
    }

    public function get(string $name): ?Figure
    {
        return $this->all[$name] ?? null;
    }

    public function median(string $name): ?float
    {
        return $this->get($name)?->median();
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
