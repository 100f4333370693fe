<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Events;

/**
 * Rows of a buffer were seen to be committed: by a flush, or in the background since the last look at its figures.
 */
final class BatchCommitted
{
    /** @param int $rows as added, before merging */
    public function __construct(public readonly string $buffer, public readonly int $rows)
    {
    }
}
