<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Flow;

use App\Spot\Storage\SpotStore;
use App\Spot\Worker\Progress;
use Closure;

/**
 * Stands where the example exchange writes, and keeps each of its atomic groups as rows of a flow.
 * The progress row, the same in every group, and what was refused are left out.
 */
final class RecordingStore implements SpotStore
{
    /** @var list<list<array{0: string, 1: mixed, 2?: mixed, 3?: mixed}>> since the last take() */
    private array $groups = [];
    /** @var list<array{0: string, 1: mixed, 2?: mixed, 3?: mixed}> of the step that is being written */
    private array $rows = [];

    /** @return list<list<array{0: string, 1: mixed, 2?: mixed, 3?: mixed}>> */
    public function take(): array
    {
        $taken = $this->groups;
        $this->groups = [];

        return $taken;
    }

    public function step(Progress $progress, int $atMs, ?Closure $write = null): void
    {
        $progress->steps++;
        $write === null || $write();
        $this->rows === [] || $this->groups[] = $this->rows;
        $this->rows = [];
    }

    public function order(int $id, array $columns): void
    {
        $this->rows[] = ['order', $id, $columns];
    }

    public function trade(array $columns): void
    {
        $this->rows[] = ['trade', $columns];
    }

    public function balance(int $userId, string $currency, array $changes): void
    {
        $this->rows[] = ['balance', $userId, $currency, $changes];
    }

    public function refusal(array $columns): void
    {
    }

    /** Nothing is buffered: the book is as new as the rows. */
    public function pendingOrder(int $id): ?array
    {
        return null;
    }

    public function knownOrder(int $id): ?array
    {
        return null;
    }
}
