<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Flow;

/**
 * What the matcher hands over: groups, each to be written whole or not at all.
 *
 * A group is a list of rows: ['order', id, columns], ['trade', columns] or
 * ['balance', user, currency, amounts to add]; all numbers that are money are strings.
 *
 * @phpstan-type Group list<array{0: string, 1: mixed, 2?: mixed, 3?: mixed}>
 */
interface Flow
{
    /** @return iterable<array<string, int|string>> the orders that are in the database before, all columns */
    public function orders(): iterable;

    /** @return list<int> */
    public function users(): array;

    /** @return iterable<list<array{0: string, 1: mixed, 2?: mixed, 3?: mixed}>> */
    public function groups(): iterable;

    /** How many groups are matches. */
    public function matches(): int;
}
