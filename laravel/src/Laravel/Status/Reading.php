<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Status;

/**
 * What was found on the board.
 */
final class Reading
{
    /**
     * @param list<ProcessStatus> $processes live ones of this host
     * @param list<string> $unreadable files of another user
     */
    public function __construct(public readonly array $processes, public readonly array $unreadable)
    {
    }
}
