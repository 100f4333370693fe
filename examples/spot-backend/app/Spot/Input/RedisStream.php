<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Market;
use App\Spot\Worker\Progress;
use Closure;
use Redis;
use RedisException;
use RuntimeException;
use SplQueue;

/**
 * The stream `spot:orders:MARKET`, read by the consumer group `spot`.
 *
 * An entry is acknowledged once the buffer has committed what it did. Its id is in the same
 * atomic groups, in spot_progress, so an entry that was committed and not acknowledged before a
 * crash is known by its id.
 *
 * Entries are asked for in two steps: the group gives out new ones, and then the worker reads
 * what was given out after the last entry that it consumed. It need not be the one that they
 * were given to: an answer may be lost, and a worker that was taken over reads on until it notices.
 */
final class RedisStream implements Input
{
    public const GROUP = 'spot';

    /** One consumer a market, whoever runs it: what a dead worker had read is its successor's. */
    private const CONSUMER = 'worker';

    private const BLOCK_MS = 50;
    private const ACKNOWLEDGE_MAX = 1_000;
    private const OUTAGE_MAX_S = 120;
    private const RETRY_AFTER_MS = 100;

    /** Errors of a Redis that starts, or that is about to become the primary. */
    private const TEMPORARY = '/^(LOADING|MASTERDOWN|READONLY|CLUSTERDOWN|TRYAGAIN|BUSY) /';

    public int $redelivered = 0;

    private string $consumedTo = '0-0';

    /** @var SplQueue<array{string, int}> id and sequence of what is consumed and not acknowledged */
    private SplQueue $unacknowledged;

    private ?Redis $redis = null;

    private ?int $awaySinceNs = null;

    /** @param Closure(): Redis $connect */
    public function __construct(
        private readonly Market $market,
        private readonly Closure $connect,
    ) {
        $this->unacknowledged = new SplQueue();
    }

    public static function keyOf(Market $market): string
    {
        return "spot:orders:{$market->key()}";
    }

    public function name(): string
    {
        return 'redis ' . self::keyOf($this->market);
    }

    public function open(Progress $progress): void
    {
        $this->consumedTo = $progress->position === '' ? '0-0' : $progress->position;
        // What was placed before the first worker came is an order, too.
        $this->insist(fn (Redis $redis): mixed => $redis->xGroup('CREATE', self::keyOf($this->market), self::GROUP, $this->consumedTo, true));
        $this->assertNothingWasLost();
        $this->assertNothingWasPassedOver();
        $this->acknowledgeUpToPosition();
    }

    public function read(int $limit): ?array
    {
        $given = $this->readGroup($this->consumedTo, $limit);

        if ($given === []) {
            $this->passOverKnown($this->readGroup('>', $limit, self::BLOCK_MS));
            $given = $this->readGroup($this->consumedTo, $limit);
        }

        return array_map(
            fn (string $id, mixed $fields): Entry => StreamEntry::parse($this->market, $id, is_array($fields) ? $fields : null),
            array_keys($given),
            $given,
        );
    }

    public function consumed(Entry $entry, int $sequence): void
    {
        $this->consumedTo = $entry->position;
        $this->unacknowledged->enqueue([$entry->position, $sequence]);
    }

    public function acknowledge(int $committedSequence): void
    {
        do {
            $ids = [];

            foreach ($this->unacknowledged as [$id, $sequence]) {
                if ($sequence > $committedSequence || count($ids) === self::ACKNOWLEDGE_MAX) {
                    break;
                }

                $ids[] = $id;
            }

            if ($ids !== []) {
                if ($this->command(fn (Redis $redis): mixed => $redis->xAck(self::keyOf($this->market), self::GROUP, $ids)) === null) {
                    return;
                }

                array_map(fn (): array => $this->unacknowledged->dequeue(), $ids);
            }
        } while (count($ids) === self::ACKNOWLEDGE_MAX);
    }

    public function hasUniqueIds(): bool
    {
        return false;
    }

    /**
     * What the group has given out after the place that the database knows is unacknowledged, or
     * it went to another database: a new one, or one that was restored since.
     */
    private function assertNothingWasPassedOver(): void
    {
        $key = self::keyOf($this->market);
        $after = $this->consumedTo;
        $groups = array_column((array) $this->insist(fn (Redis $redis): mixed => $redis->xInfo('GROUPS', $key)), null, 'name');
        $givenOut = (string) ($groups[self::GROUP]['last-delivered-id'] ?? '0-0');

        while (self::isAfter($givenOut, $after)) {
            $entries = (array) $this->insist(fn (Redis $redis): mixed => $redis->xRange($key, "({$after}", $givenOut, self::ACKNOWLEDGE_MAX));

            if ($entries === []) {
                return;
            }

            [$first, $last] = [(string) array_key_first($entries), (string) array_key_last($entries)];
            $pending = (array) $this->insist(
                fn (Redis $redis): mixed => $redis->xPending($key, self::GROUP, $first, $last, count($entries), self::CONSUMER),
            );
            $passedOver = array_diff(array_map('strval', array_keys($entries)), array_column($pending, 0));
            $passedOver === [] || throw new RuntimeException(
                "{$key}: entry " . reset($passedOver) . " was acknowledged, but this database ends at {$this->consumedTo}. If it is"
                . " the right one, have everything after that consumed: redis-cli XGROUP DESTROY {$key} " . self::GROUP,
            );
            $after = $last;
        }
    }

    /** What was given out and is in the database since an earlier run. */
    private function acknowledgeUpToPosition(): void
    {
        $key = self::keyOf($this->market);

        do {
            $known = array_column((array) $this->insist(
                fn (Redis $redis): mixed => $redis->xPending($key, self::GROUP, '-', $this->consumedTo, self::ACKNOWLEDGE_MAX, self::CONSUMER),
            ), 0);
            $known === [] || $this->insist(fn (Redis $redis): mixed => $redis->xAck($key, self::GROUP, $known));
            $this->redelivered += count($known);
        } while (count($known) === self::ACKNOWLEDGE_MAX);
    }

    /**
     * A group that was set back gives out again what is consumed.
     *
     * @param array<string, mixed> $given
     */
    private function passOverKnown(array $given): void
    {
        $known = array_filter(array_keys($given), fn (string $id): bool => !self::isAfter($id, $this->consumedTo));
        $known === [] || $this->assertNothingWasLost();
        $this->redelivered += count($known);

        foreach ($known as $id) {
            // In effect once all that was consumed so far is.
            $this->unacknowledged->enqueue([$id, $this->unacknowledged->isEmpty() ? 0 : $this->unacknowledged->top()[1]]);
        }
    }

    /** New entries have later ids than all before. In a stream that lost its end they could be taken for old ones. */
    private function assertNothingWasLost(): void
    {
        $key = self::keyOf($this->market);
        $last = ((array) $this->insist(fn (Redis $redis): mixed => $redis->xInfo('STREAM', $key)))['last-generated-id'] ?? '0-0';

        if (self::isAfter($this->consumedTo, $last)) {
            throw new RuntimeException("{$key} ends at {$last}, but this database has consumed {$this->consumedTo}: Redis lost entries. If"
                . " it is the right one, have it go on after that: redis-cli XSETID {$key} {$this->consumedTo}");
        }
    }

    /** @return array<string, mixed> fields by id: new ones after `>`, else what was given out after an id */
    private function readGroup(string $after, int $limit, ?int $blockMs = null): array
    {
        $key = self::keyOf($this->market);
        $answer = $this->command(
            fn (Redis $redis): mixed => $redis->xReadGroup(self::GROUP, self::CONSUMER, [$key => $after], $limit, $blockMs),
        );

        return is_array($answer) ? (array) ($answer[$key] ?? []) : [];
    }

    /**
     * For what may be repeated.
     *
     * @param Closure(Redis): mixed $command
     */
    private function insist(Closure $command): mixed
    {
        while (($answer = $this->command($command)) === null) {
            continue;
        }

        return $answer;
    }

    /**
     * One attempt.
     *
     * @param Closure(Redis): mixed $command
     * @return mixed null while Redis is away, up to a bound
     */
    private function command(Closure $command): mixed
    {
        $lost = null;

        try {
            $this->redis ??= ($this->connect)();
            $this->redis->clearLastError();
            $answer = $command($this->redis);
            $error = (string) $this->redis->getLastError();
        } catch (RedisException $exception) {
            $answer = null;
            $error = $exception->getMessage();
            // Redis may have answered all the same: with an error that begins with its code.
            $lost = preg_match('/^[A-Z]{3,} /', $error) === 1 ? null : $exception;
        }

        if ($lost !== null || preg_match(self::TEMPORARY, $error) === 1) {
            $this->wait($lost ?? new RedisException($error));

            return null;
        }

        $this->awaySinceNs = null;

        // BUSYGROUP: the group is there already.
        return $error === '' || str_starts_with($error, 'BUSYGROUP')
            ? $answer
            : throw new RuntimeException("Redis refuses {$this->name()}: {$error}");
    }

    /** @throws RedisException when it has been away for too long */
    private function wait(RedisException $exception): void
    {
        $this->redis = null;

        if (hrtime(true) - ($this->awaySinceNs ??= hrtime(true)) > self::OUTAGE_MAX_S * 1_000_000_000) {
            throw $exception;
        }

        usleep(self::RETRY_AFTER_MS * 1_000);
    }

    private static function isAfter(string $id, string $other): bool
    {
        return array_map('intval', explode('-', $id)) > array_map('intval', explode('-', $other));
    }
}
