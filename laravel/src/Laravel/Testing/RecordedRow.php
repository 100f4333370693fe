<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Testing;

use WriteBuffer\Sync\Row;

/**
 * A row as it was added, and what it came to after the checks.
 */
final class RecordedRow
{
    /** @param array<string, mixed> $row of a deletion the key */
    public function __construct(
        public readonly string $table,
        public readonly array $row,
        public readonly Row $checked,
        public readonly bool $isDelete = false,
    ) {
    }
}
