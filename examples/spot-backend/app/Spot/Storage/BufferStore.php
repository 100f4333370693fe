<?php

declare(strict_types=1);

namespace App\Spot\Storage;

use App\Spot\Worker\Outages;
use App\Spot\Worker\Progress;
use Closure;
use Illuminate\Database\Connection;
use PDO;
use PDOStatement;
use WriteBuffer;

/** Writes through the write buffer, and through nothing else. It is the buffer's only writer. */
final class BufferStore implements SpotStore
{
    /** Sequence number of the last row that was added. */
    private int $sequence;

    private ?PDOStatement $orderQuery = null;

    public function __construct(
        private readonly WriteBuffer $buffer,
        private readonly Connection $database,
        private readonly Outages $outages = new Outages(),
    ) {
        $this->sequence = $buffer->sequence();
    }

    public function sequence(): int
    {
        return $this->sequence;
    }

    public function step(Progress $progress, int $atMs, ?Closure $write = null): void
    {
        $progress->steps++;

        if ($write === null) {
            $this->progress($progress, $atMs);

            return;
        }

        $this->buffer->transaction(function () use ($progress, $atMs, $write): void {
            $write();
            $this->progress($progress, $atMs);
        });
    }

    public function order(int $id, array $columns): void
    {
        $this->sequence++;
        $this->buffer->addOrder($id, $columns);
    }

    public function trade(array $columns): void
    {
        $this->sequence++;
        $this->buffer->addTrade($columns);
    }

    public function balance(int $userId, string $currency, array $changes): void
    {
        $this->sequence++;
        $this->buffer->addBalanceUpdate($userId, $currency, $changes);
    }

    public function refusal(array $columns): void
    {
        $this->sequence++;
        $this->buffer->add('spot_refusals', $columns);
    }

    /** Says that the worker is alive; outside of any step. */
    public function beat(Progress $progress, int $nowMs): void
    {
        $this->sequence++;
        $this->buffer->add('spot_progress', [
            'market' => $progress->market,
            'epoch' => $progress->epoch,
            'sequence' => $this->sequence,
            'beat_at' => $nowMs,
        ]);
    }

    public function pendingOrder(int $id): ?array
    {
        return $this->buffer->find('orders', $id);
    }

    public function knownOrder(int $id): ?array
    {
        // The buffer first: what is committed between the two look-ups is then found by the
        // second. The other way round it would be missed by both.
        $pending = $this->buffer->find('orders', $id);

        if (isset($pending['status'], $pending['user_id'])) {
            return $pending;
        }

        $stored = $this->outages->outlast($this->database, fn (): ?array => $this->storedOrder($id), function (): void {
            $this->orderQuery = null;
        });

        return $stored === null ? $pending : (array) $pending + $stored;
    }

    /** The last row of every step: `sequence` is the number that it gets itself. */
    private function progress(Progress $progress, int $atMs): void
    {
        $this->sequence++;
        $this->buffer->add('spot_progress', [
            'market' => $progress->market,
            'epoch' => $progress->epoch,
            'events' => $progress->events,
            'position' => $progress->position,
            'match_id' => $progress->matchId,
            'steps' => $progress->steps,
            'sequence' => $this->sequence,
            'updated_at' => $atMs,
        ]);
    }

    /** @return array<string, mixed>|null */
    private function storedOrder(int $id): ?array
    {
        $this->orderQuery ??= $this->database->getPdo()->prepare('SELECT status, user_id, currency, coin FROM orders WHERE id = ?');
        $this->orderQuery->bindValue(1, $id, PDO::PARAM_INT);
        $this->orderQuery->execute();
        $order = $this->orderQuery->fetch(PDO::FETCH_ASSOC);
        $this->orderQuery->closeCursor();

        return is_array($order) ? $order : null;
    }
}
