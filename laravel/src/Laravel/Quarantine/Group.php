<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Quarantine;

/**
 * One line of a quarantine file: an atomic group that the database refused.
 */
final class Group
{
    /**
     * @param int $number as the command-line tool counts
     * @param array<string, mixed>|null $data null: the line cannot be read
     */
    public function __construct(public readonly int $number, public readonly ?array $data, public readonly string $text)
    {
    }

    public function rowNumbers(): string
    {
        return $this->data === null ? '-' : "{$this->data['first']} to {$this->data['last']}";
    }

    public function tables(): string
    {
        return implode(', ', array_unique(array_map('strval', array_column($this->rows(), 'table'))));
    }

    public function reason(): string
    {
        return $this->data === null ? 'this line cannot be read' : (string) ($this->data['reason'] ?? '');
    }

    /** @return list<array<string, mixed>> */
    public function rows(): array
    {
        return array_values(array_filter((array) ($this->data['rows'] ?? []), 'is_array'));
    }
}
