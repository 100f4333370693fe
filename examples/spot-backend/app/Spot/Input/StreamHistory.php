<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Market;
use App\Spot\Worker\Progress;
use Redis;

/** A stream from its first entry to its last, without taking part in its consumption. */
final class StreamHistory implements Input
{
    private string $after = '-';

    public function __construct(
        private readonly Market $market,
        private readonly Redis $redis,
    ) {
    }

    public function name(): string
    {
        return 'redis ' . RedisStream::keyOf($this->market);
    }

    public function open(Progress $progress): void
    {
        $this->after = $progress->position === '' ? '-' : "({$progress->position}";
    }

    public function read(int $limit): ?array
    {
        $entries = [];

        foreach ($this->redis->xRange(RedisStream::keyOf($this->market), $this->after, '+', $limit) ?: [] as $id => $fields) {
            $entries[] = StreamEntry::parse($this->market, (string) $id, $fields);
            $this->after = "({$id}";
        }

        return $entries === [] ? null : $entries;
    }

    public function consumed(Entry $entry, int $sequence): void
    {
    }

    public function acknowledge(int $committedSequence): void
    {
    }

    public function hasUniqueIds(): bool
    {
        return false;
    }
}
