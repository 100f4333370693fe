<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use WriteBuffer\Bench\Flow\Flow;

/** One way to bring groups into the database. */
interface Peer
{
    /** What a user would have ready before the first match; not measured. */
    public function prepare(Flow $flow): void;

    /** @param list<array{0: string, 1: mixed, 2?: mixed, 3?: mixed}> $group */
    public function apply(array $group): void;

    /** Returns when the database has confirmed all groups. */
    public function finish(): void;

    /** @return array<string, mixed> what else is worth knowing */
    public function facts(): array;
}
