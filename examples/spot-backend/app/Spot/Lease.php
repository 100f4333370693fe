<?php

declare(strict_types=1);

namespace App\Spot;

use Illuminate\Database\Connection;
use RuntimeException;

/**
 * A worker's right to its market: the epoch of the market's row in spot_progress.
 *
 * Who takes the market over makes the epoch one more. Each atomic group updates that row by
 * market and epoch, so the database refuses every group of whoever had it before, whatever the
 * clocks say. The time of the last sign of life only says whether it is polite to take over.
 */
final class Lease
{
    private function __construct(
        private readonly Connection $database,
        private readonly string $market,
        private readonly int $epoch,
    ) {
    }

    /**
     * To be called with nothing pending: what a dead worker left was still of its epoch.
     *
     * @param int $sequence of the new worker's buffer
     * @throws LeaseHeld
     */
    public static function take(Connection $database, Market $market, string $input, int $leaseMs, bool $force, int $sequence): self
    {
        $row = self::rowOf($database, $market, $input);
        $nowMs = Clock::nowMs();
        $owner = Owner::ofThisProcess();

        if (!$force && $row->owner !== null && !Owner::parse((string) $row->owner)->mayBeReplacedBy($owner)) {
            $leftMs = (int) $row->beat_at + $leaseMs - $nowMs;
            $leftMs <= 0 || throw new LeaseHeld(
                "{$market->key()} is worked by {$row->owner}, heard of {$row->beat_at}: end that worker, wait {$leftMs} ms, or fence it with --take-over.",
            );
        }

        $taken = $database->table('spot_progress')->where('market', $market->key())->where('epoch', $row->epoch)->update([
            'epoch' => $row->epoch + 1,
            'owner' => $owner->text(),
            'beat_at' => $nowMs,
            'sequence' => $sequence,
        ]);

        if ($taken !== 1) {
            throw new LeaseHeld("{$market->key()} was taken by another worker just now.");
        }

        return new self($database, $market->key(), (int) $row->epoch + 1);
    }

    public function epoch(): int
    {
        return $this->epoch;
    }

    /** Inside a transaction: it then commits only if the market is still this worker's. */
    public function assertHeld(): void
    {
        $epoch = $this->database->table('spot_progress')->where('market', $this->market)->lockForUpdate()->value('epoch');

        if ((int) $epoch !== $this->epoch) {
            throw new RuntimeException("{$this->market} was taken over by another worker (epoch {$epoch}, this one's is {$this->epoch}).");
        }
    }

    /** Lets the next worker have the market without a wait. */
    public function release(): void
    {
        $this->database->table('spot_progress')->where('market', $this->market)->where('epoch', $this->epoch)->update(['owner' => null]);
    }

    private static function rowOf(Connection $database, Market $market, string $input): object
    {
        $rows = $database->table('spot_progress')->where('market', $market->key());
        $row = $rows->first();

        if ($row === null) {
            $database->table('spot_progress')->insertOrIgnore([
                'market' => $market->key(),
                'input' => $input,
                'epoch' => 0,
                'updated_at' => 0,
                'beat_at' => 0,
            ]);
            $row = $rows->first() ?? throw new RuntimeException("spot_progress takes no row for {$market->key()}.");
        }

        if ($row->input !== $input) {
            throw new RuntimeException(
                "{$market->key()} goes on with {$row->input}, not with {$input}: run spot:migrate-and-seed --fresh for another input.",
            );
        }

        return $row;
    }
}
