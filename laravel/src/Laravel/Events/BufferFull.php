<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Events;

use WriteBuffer\Exception\BufferFullException;

/**
 * A row was not accepted because a buffer is at its bound; the exception goes to the caller, too.
 */
final class BufferFull
{
    public function __construct(public readonly string $buffer, public readonly BufferFullException $exception)
    {
    }
}
