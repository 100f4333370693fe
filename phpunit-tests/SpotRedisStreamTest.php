<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use App\Spot\Input\RedisStream;
use App\Spot\Market;
use App\Spot\Worker\Progress;
use PHPUnit\Framework\TestCase;
use Redis;
use RuntimeException;
use WriteBuffer\Tests\Support\RedisServer;

require_once __DIR__ . '/../examples/spot-backend/bootstrap/autoload.php';

/** What the example's worker reads of a Redis stream, and what it acknowledges; no database. */
final class SpotRedisStreamTest extends TestCase
{
    private const STREAM = 'spot:orders:usd_btc';

    private RedisServer $server;
    private Redis $redis;

    protected function setUp(): void
    {
        $this->server = RedisServer::startOrSkip();
        $this->redis = $this->server->connect();
    }

    protected function tearDown(): void
    {
        if (isset($this->server)) {
            $this->server->remove();
        }
    }

    public function testAnEntryIsAcknowledgedWhenItsSequenceIsCommittedAndNotBefore(): void
    {
        $this->add(3);
        $input = $this->open();
        foreach ($input->read(10) as $n => $entry) {
            $input->consumed($entry, 10 * ($n + 1));
        }
        foreach ([0 => 3, 9 => 3, 10 => 2, 29 => 1, 30 => 0] as $committed => $pending) {
            $input->acknowledge($committed);
            self::assertSame($pending, $this->pending(), "committed up to $committed");
        }
    }

    public function testWhatAWorkerThatWasTakenOverIsStillGivenIsNotPassedOver(): void
    {
        $this->add(2);
        $input = $this->open();
        self::assertCount(2, $this->consume($input));
        // The one before has not noticed yet, and reads on.
        $stolen = $this->add(3);
        self::assertCount(3, $this->readAsAnother());
        $next = $this->add(1);
        self::assertSame([...$stolen, ...$next], [...$this->consume($input), ...$this->consume($input)], 'entries are passed over');
    }

    public function testWhatAWorkerThatWasTakenOverIsStillGivenIsReadThoughNothingFollows(): void
    {
        $input = $this->open();
        self::assertSame([], $this->consume($input));
        $stolen = $this->add(3);
        self::assertCount(3, $this->readAsAnother());
        self::assertSame($stolen, $this->consume($input));
    }

    public function testWhatTheDatabaseHasIsAcknowledgedAndNotReadAgain(): void
    {
        [, $second, $third] = $this->add(3);
        $this->open()->read(10);
        $input = $this->open($second);
        self::assertSame([$third], $this->consume($input));
        $input->acknowledge(0);
        self::assertSame(2, $input->redelivered);
        self::assertSame([$third], array_column($this->redis->xPending(self::STREAM, RedisStream::GROUP, '-', '+', 10), 0));
    }

    public function testAStreamThatEndsBeforeWhatTheDatabaseHasIsNotGoneOnWith(): void
    {
        // Its next entries could have ids that the worker takes for old ones.
        [$kept] = $this->add(1);
        $this->expectException(RuntimeException::class);
        $this->expectExceptionMessage("ends at $kept, but this database has consumed 99999999999999-0");
        $this->open('99999999999999-0');
    }

    public function testANewEntryWithTheIdOfALostOneIsNotTakenForIt(): void
    {
        $input = $this->open();
        $this->add(1);
        self::assertCount(1, $this->consume($input));
        // Redis comes back without its data, and its clock is behind.
        $this->server->kill();
        $this->server->forget();
        $this->server->start();
        $this->redis = $this->server->connect();
        $this->redis->xAdd(self::STREAM, '1000-0', ['hello' => 'world']);
        $this->redis->xGroup('CREATE', self::STREAM, RedisStream::GROUP, '0');
        $this->expectException(RuntimeException::class);
        $this->expectExceptionMessage('ends at 1000-0, but this database has consumed');
        $input->read(10);
    }

    private function open(string $position = ''): RedisStream
    {
        $input = new RedisStream(new Market(0, 'usd', 'btc'), $this->server->connect(...));
        $input->open(new Progress('usd_btc', $input->name(), 1, position: $position));
        return $input;
    }

    /** @return list<string> their ids */
    private function add(int $entries): array
    {
        return array_map(fn (): string => $this->redis->xAdd(self::STREAM, '*', ['hello' => 'world']), range(1, $entries));
    }

    /** @return array<string, array<string, string>> */
    private function readAsAnother(): array
    {
        return $this->redis->xReadGroup(RedisStream::GROUP, 'worker', [self::STREAM => '>'], 10)[self::STREAM];
    }

    /** @return list<string> where they stand */
    private function consume(RedisStream $input): array
    {
        $positions = [];
        foreach ($input->read(10) as $entry) {
            $input->consumed($entry, 1);
            $positions[] = $entry->position;
        }
        return $positions;
    }

    private function pending(): int
    {
        return (int) $this->redis->xPending(self::STREAM, RedisStream::GROUP)[0];
    }
}
