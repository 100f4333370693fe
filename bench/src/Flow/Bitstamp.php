<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Flow;

use RuntimeException;

/**
 * What the example exchange stores for 30 minutes of real order flow: orders that are placed, matched,
 * made smaller and cancelled, from a tape that children/tape.php has made.
 */
final class Bitstamp implements Flow
{
    public const USERS = 5_000;

    /** Groups that come before those of the tape. */
    public const SKIP = 150_000;

    /** @var list<array<string, int|string|null>> */
    private readonly array $orders;
    /** @var list<list<array{0: string, 1: mixed, 2?: mixed, 3?: mixed}>> */
    private readonly array $groups;

    public function __construct(string $tape, int $size)
    {
        $groups = [];
        $file = fopen($tape, 'rb') ?: throw new RuntimeException("The tape $tape cannot be opened.");
        $this->orders = json_decode((string) fgets($file), true, 512, JSON_THROW_ON_ERROR);
        while (count($groups) < $size && ($line = fgets($file)) !== false) {
            $groups[] = json_decode($line, true, 512, JSON_THROW_ON_ERROR);
        }
        fclose($file);
        if (count($groups) < $size) {
            throw new RuntimeException(sprintf('The tape %s has %d groups, and %d were asked for.', $tape, count($groups), $size));
        }
        $this->groups = $groups;
    }

    public function orders(): iterable
    {
        return $this->orders;
    }

    public function users(): array
    {
        return range(1, self::USERS);
    }

    public function groups(): iterable
    {
        yield from $this->groups;
    }

    public function size(): int
    {
        return count($this->groups);
    }

    public function matches(): int
    {
        return count(array_filter($this->groups, static fn (array $group): bool => $group[0][0] === 'trade'));
    }
}
