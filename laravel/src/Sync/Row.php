<?php

declare(strict_types=1);

namespace WriteBuffer\Sync;

/**
 * A checked row, by the columns of its database table.
 */
final class Row
{
    /**
     * @param string $table the database table, its name filled in
     * @param array<string, int|string> $key
     * @param array<string, string> $deltas plain decimals
     * @param array<string, int|float|string|null> $values
     */
    public function __construct(
        public readonly string $table,
        public readonly array $key,
        public readonly array $deltas,
        public readonly array $values,
    ) {
    }

    /** What two changes of one row have in common. */
    public function identity(): string
    {
        return serialize([$this->table, array_map('strval', $this->key)]);
    }

    /** @return array<string, int|float|string|null> */
    public function columns(): array
    {
        return $this->key + $this->deltas + $this->values;
    }
}
