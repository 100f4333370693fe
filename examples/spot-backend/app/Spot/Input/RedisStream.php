<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Market;
use App\Spot\Progress;
use Closure;
use Redis;
use RedisException;
use RuntimeException;
use SplQueue;

/**
 * The stream `spot:orders:MARKET`, read by the consumer group `spot`.
 *
 * An entry is acknowledged once the buffer has committed what it did. Its id is in the same
 * atomic groups, in spot_progress, so an entry that comes again after a crash between the commit
 * and the acknowledgement is known by its id and acknowledged without being applied.
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

    /**
     * Where in the consumer's own unacknowledged entries to go on; null when they are through.
     * They come before any new entry, after a lost connection, too: its last answer may be there.
     */
    private ?string $ownFrom = '0';

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
        // From the first entry on: what was placed before the first worker came is an order, too.
        $this->insist(fn (Redis $redis): mixed => $redis->xGroup('CREATE', self::keyOf($this->market), self::GROUP, '0', true));
        $this->assertNothingWasPassedOver();
    }

    public function read(int $limit): ?array
    {
        $entries = [];

        foreach ($this->next($limit) as $id => $fields) {
            if (self::isAfter($id, $this->consumedTo)) {
                $entries[] = StreamEntry::parse($this->market, $id, is_array($fields) ? $fields : null);
            } else {
                $this->redelivered++;
                // In effect once all that was consumed so far is.
                $this->unacknowledged->enqueue([$id, $this->unacknowledged->isEmpty() ? 0 : $this->unacknowledged->top()[1]]);
            }
        }

        return $entries;
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

    /** @return array<string, mixed> fields by id */
    private function next(int $limit): array
    {
        $key = self::keyOf($this->market);

        if ($this->ownFrom !== null) {
            $own = $this->readGroup($key, $this->ownFrom, $limit, null);

            if ($own !== []) {
                $this->ownFrom = (string) array_key_last($own);

                return $own;
            }

            $this->ownFrom = null;
        }

        return $this->readGroup($key, '>', $limit, self::BLOCK_MS);
    }

    /** @return array<string, mixed> */
    private function readGroup(string $key, string $from, int $limit, ?int $blockMs): array
    {
        $answer = $this->command(
            fn (Redis $redis): mixed => $redis->xReadGroup(self::GROUP, self::CONSUMER, [$key => $from], $limit, $blockMs),
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
     * One attempt. Nothing is repeated here: a read whose answer was lost has to be repeated as a
     * read of the consumer's own entries, or they would be passed over.
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
        $this->ownFrom = '0';

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
