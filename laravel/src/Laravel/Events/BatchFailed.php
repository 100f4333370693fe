<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Events;

/**
 * Rows of a buffer could not be written; they stay pending and are tried again.
 */
final class BatchFailed
{
    /** @param int $pending rows that wait */
    public function __construct(public readonly string $buffer, public readonly string $error, public readonly int $pending)
    {
    }
}
