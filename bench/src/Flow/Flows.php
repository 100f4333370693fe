<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Flow;

use InvalidArgumentException;

/** Flows by the names that children are given. */
final class Flows
{
    /** @param array{name: string, size: int, tape?: string} $spec */
    public static function of(array $spec): Flow
    {
        return match ($spec['name']) {
            'synthetic' => new Synthetic((int) $spec['size']),
            'bitstamp' => new Bitstamp((string) $spec['tape'], (int) $spec['size']),
            default => throw new InvalidArgumentException("No flow is named {$spec['name']}."),
        };
    }
}
