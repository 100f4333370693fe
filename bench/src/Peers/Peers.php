<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use InvalidArgumentException;

/** Peers by the names that children are given. */
final class Peers
{
    /** @param array<string, mixed> $spec of a child: peer, and what that one needs */
    public static function of(array $spec): Peer
    {
        return match ($spec['peer']) {
            'pdo' => new PdoPerMatch(),
            'laravel-upsert' => new LaravelUpsert(500),
            'bulk-case' => new BulkCase(500),
            'php-buffer' => new BufferedInPhp((int) $spec['size']),
            'redis-list' => new RedisList($spec['flow']),
            'write-buffer' => new Extension((string) $spec['journal'], $spec['options'] ?? []),
            'ceiling' => new Ceiling($spec['form'], (int) $spec['size']),
            default => throw new InvalidArgumentException("No peer is named {$spec['peer']}."),
        };
    }
}
