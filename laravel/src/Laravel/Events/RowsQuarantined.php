<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Events;

/**
 * The database refused rows for good; they are in quarantine.
 */
final class RowsQuarantined
{
    /** @param list<string> $reasons */
    public function __construct(public readonly string $buffer, public readonly int $rows, public readonly array $reasons)
    {
    }
}
