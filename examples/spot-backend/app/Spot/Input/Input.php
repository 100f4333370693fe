<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Worker\Progress;

/** Where a market's orders come from, in an order that every replay repeats. */
interface Input
{
    /** What spot_progress calls it. */
    public function name(): string;

    /** Goes to the entry after the last one that was consumed. */
    public function open(Progress $progress): void;

    /**
     * The next entries, as many as there are but no more than the limit. An input that goes on
     * waits a moment for the first one, and then returns none.
     *
     * @return list<Entry>|null null at the end of the input
     */
    public function read(int $limit): ?array;

    /** The entry, and all before it, are in effect once the buffer has committed this sequence. */
    public function consumed(Entry $entry, int $sequence): void;

    /** Gives back to the input what is in effect for good. */
    public function acknowledge(int $committedSequence): void;

    /** Whether its order ids may be trusted never to come twice. */
    public function hasUniqueIds(): bool;
}
