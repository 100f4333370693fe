<?php

declare(strict_types=1);

namespace App\Spot\Worker;

use App\Spot\Clock;
use App\Spot\Market;
use Illuminate\Database\Connection;
use RuntimeException;

/**
 * A worker's right to its market: the epoch of the market's row in spot_progress.
 *
 * Who takes the market over makes the epoch one more. Each atomic group updates that row by
 * market and epoch, so the database refuses every group of whoever had it before, whatever the
 * clocks say. The time of the last sign of life only says whether it is polite to take over.
 *
 * Each epoch has a buffer of its own name, which stands in the row. What its worker leaves in a
 * journal is written by the next one, before the epoch changes. What is refused afterwards goes
 * to the quarantine of that name, where no group of a later epoch ever waits behind it.
 */
final class Lease
{
    /** @param string|null $formerBuffer whose rows are still of the epoch that is to end */
    private function __construct(
        private readonly Connection $database,
        private readonly string $market,
        private int $epoch,
        public readonly ?string $formerBuffer,
    ) {
    }

    /**
     * The market as it is now: it may be taken, but is not yet.
     *
     * @throws LeaseHeld
     */
    public static function of(Connection $database, Market $market, string $input, int $leaseMs, bool $force): self
    {
        $row = self::rowOf($database, $market, $input);

        if (!$force && $row->owner !== null && !Owner::parse((string) $row->owner)->mayBeReplacedBy(Owner::ofThisProcess())) {
            $leftMs = (int) $row->beat_at + $leaseMs - Clock::nowMs();
            $leftMs <= 0 || throw new LeaseHeld(
                "{$market->key()} is worked by {$row->owner}, heard of {$row->beat_at}: end that worker, wait {$leftMs} ms, or fence it with --take-over.",
            );
        }

        return new self($database, $market->key(), (int) $row->epoch, $row->buffer);
    }

    /**
     * @return string the name of the new epoch's buffer
     * @throws LeaseHeld
     */
    public function take(): string
    {
        $buffer = "spot-{$this->market}-" . ($this->epoch + 1) . '-' . bin2hex(random_bytes(4));
        $taken = $this->database->table('spot_progress')->where('market', $this->market)->where('epoch', $this->epoch)->update([
            'epoch' => ++$this->epoch,
            'owner' => Owner::ofThisProcess()->text(),
            'buffer' => $buffer,
            'beat_at' => Clock::nowMs(),
            'sequence' => 0,
        ]);

        return $taken === 1 ? $buffer : throw new LeaseHeld("{$this->market} was taken by another worker just now.");
    }

    /** Inside a transaction: it then commits only if the market is still this worker's. */
    public function assertHeld(): void
    {
        $epoch = $this->database->table('spot_progress')->where('market', $this->market)->lockForUpdate()->value('epoch');

        if ((int) $epoch !== $this->epoch) {
            throw new RuntimeException("{$this->market} was taken over by another worker (epoch {$epoch}, this one's is {$this->epoch}).");
        }
    }

    /** Lets the next worker have the market without a wait. To be called when all is written. */
    public function release(): void
    {
        $this->database->table('spot_progress')->where('market', $this->market)->where('epoch', $this->epoch)
            ->update(['owner' => null, 'buffer' => null]);
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
