<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Flow;

/**
 * What the matcher hands over: groups, each to be written whole or not at all.
 *
 * A group is a list of rows: ['order', id, columns], ['trade', columns] or ['balance', user, currency,
 * changes]; all numbers that are money are strings. An order with a `user_id` is a new one and has all
 * columns, any other has those that change.
 *
 * @phpstan-type Group list<array{0: string, 1: mixed, 2?: mixed, 3?: mixed}>
 */
interface Flow
{
    /** The columns of an account that changes are added to; others are replaced. */
    public const AMOUNTS = ['balance', 'available_balance', 'usd_amount'];

    /** @return iterable<array<string, int|string|null>> the orders that are in the database before, all columns */
    public function orders(): iterable;

    /** @return list<int> */
    public function users(): array;

    /** @return iterable<list<array{0: string, 1: mixed, 2?: mixed, 3?: mixed}>> */
    public function groups(): iterable;

    /** How many groups there are. */
    public function size(): int;

    /** How many of them are matches. */
    public function matches(): int;
}
