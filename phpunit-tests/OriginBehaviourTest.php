<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PDO;
use PHPUnit\Framework\TestCase;
use WriteBuffer;
use WriteBuffer\FlushResult;
use WriteBuffer\SyncWriteBuffer;
use WriteBuffer\WriteBufferFactory;

/**
 * What the PHP buffer's own tests promised, kept by its replacement.
 */
final class OriginBehaviourTest extends TestCase
{
    private WriteBuffer $buffer;

    protected function setUp(): void
    {
        $this->buffer = new WriteBuffer(maxBufferSize: 10, flushIntervalMs: 500);
    }

    protected function tearDown(): void
    {
        $this->buffer->clear();
        putenv('APP_ENV');
    }

    public function testItAddsOrders(): void
    {
        $this->buffer->addOrder(1, ['status' => 'executed', 'executed_quantity' => '1.5']);
        $this->buffer->addOrder(2, ['status' => 'canceled']);
        self::assertSame(2, $this->buffer->getStats()['buffer']['orders']);
    }

    public function testItMergesUpdatesOfOneOrder(): void
    {
        $this->buffer->addOrder(1, ['status' => 'executing', 'executed_quantity' => '0.5']);
        $this->buffer->addOrder(1, ['status' => 'executed']);
        self::assertSame(1, $this->buffer->getStats()['buffer']['orders']);
        self::assertSame(
            ['id' => 1, 'status' => 'executed', 'executed_quantity' => '0.5'],
            $this->buffer->find('orders', 1)
        );
    }

    public function testItAddsTrades(): void
    {
        $this->buffer->addTrade(['price' => '50000', 'quantity' => '0.1']);
        $this->buffer->addTrade(['price' => '50000', 'quantity' => '0.1']);
        self::assertSame(2, $this->buffer->getStats()['buffer']['trades']);
    }

    public function testItAddsBalanceUpdates(): void
    {
        $this->buffer->addBalanceUpdate(1, 'usd', ['balance' => '-100', 'available_balance' => '-100']);
        $this->buffer->addBalanceUpdate(1, 'btc', ['balance' => '0.002']);
        self::assertSame(2, $this->buffer->getStats()['buffer']['balances']);
    }

    public function testItMergesBalancesOfOneUserAndCurrency(): void
    {
        $this->buffer->addBalanceUpdate(1, 'usd', ['balance' => '100.10', 'available_balance' => '50']);
        $this->buffer->addBalanceUpdate(1, 'usd', ['balance' => '-0.05']);
        self::assertSame(1, $this->buffer->getStats()['buffer']['balances']);
        $pending = $this->buffer->find('balances', ['user_id' => 1, 'currency' => 'usd']);
        self::assertSame(0, bccomp('100.05', $pending['balance'], 18));
        self::assertSame(0, bccomp('50', $pending['available_balance'], 18));
    }

    public function testItShouldFlushAtMaxSize(): void
    {
        for ($id = 1; $id <= 10; $id++) {
            $this->buffer->addOrder($id, ['status' => 'new']);
        }
        self::assertTrue($this->buffer->shouldFlush());
    }

    public function testItShouldNotFlushBelowMaxSize(): void
    {
        $this->buffer->setLastFlushTime(microtime(true) * 1000);
        $this->buffer->addOrder(1, ['status' => 'new']);
        self::assertFalse($this->buffer->shouldFlush());
    }

    public function testItShouldFlushWhenTheIntervalHasPassedWithData(): void
    {
        $this->buffer->setLastFlushTime(microtime(true) * 1000 - 600);
        self::assertGreaterThanOrEqual(600.0, $this->buffer->getTimeSinceLastFlush());
        self::assertFalse($this->buffer->shouldFlush(), 'without data');
        $this->buffer->addOrder(1, ['status' => 'new']);
        self::assertTrue($this->buffer->shouldFlush(), 'with data');
    }

    public function testItClears(): void
    {
        $this->buffer->addOrder(1, ['status' => 'new']);
        $this->buffer->addTrade(['price' => '1']);
        $this->buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
        $this->buffer->clear();
        self::assertSame(
            ['orders' => 0, 'trades' => 0, 'balances' => 0, 'total' => 0],
            $this->buffer->getStats()['buffer']
        );
    }

    public function testFlushOfNothingIsAnEmptyResult(): void
    {
        $result = $this->buffer->flush();
        self::assertTrue($result->isSuccess());
        self::assertSame(0, $result->getTotalWritten());
        self::assertSame([], $result->getErrors());
        $empty = FlushResult::empty();
        self::assertTrue($empty->isSuccess());
        self::assertSame([0, 0.0, []], [$empty->getTotalWritten(), $empty->getDurationMs(), $empty->getErrors()]);
    }

    public function testAResultCountsWhatWasWritten(): void
    {
        $result = new FlushResult(ordersWritten: 10, tradesWritten: 5, balancesWritten: 8, durationMs: 12.5);
        self::assertSame(10, $result->getOrdersWritten());
        self::assertSame(5, $result->getTradesWritten());
        self::assertSame(8, $result->getBalancesWritten());
        self::assertSame(23, $result->getTotalWritten());
        self::assertSame(12.5, $result->getDurationMs());
        self::assertTrue($result->isSuccess());
        $array = $result->toArray();
        self::assertSame(
            [10, 5, 8, 23, 12.5, []],
            [
                $array['orders_written'], $array['trades_written'], $array['balances_written'],
                $array['total_written'], $array['duration_ms'], $array['errors'],
            ]
        );
    }

    public function testAFailedResultHasErrors(): void
    {
        $failed = FlushResult::failed('Connection refused');
        self::assertFalse($failed->isSuccess());
        self::assertSame(['Connection refused'], $failed->getErrors());
        self::assertSame(0, $failed->getTotalWritten());
        self::assertFalse((new FlushResult(errors: ['a', 'b']))->isSuccess());
    }

    public function testItHasStatistics(): void
    {
        $this->buffer->addOrder(1, ['status' => 'new']);
        $this->buffer->addTrade(['price' => '1']);
        $stats = $this->buffer->getStats();
        self::assertSame(['orders' => 1, 'trades' => 1, 'balances' => 0, 'total' => 2], $stats['buffer']);
        self::assertSame(10, $stats['config']['max_buffer_size']);
        self::assertSame(500, $stats['config']['flush_interval_ms']);
        self::assertSame(3, $stats['config']['max_retries']);
        self::assertSame(0, $stats['totals']['orders_written']);
        self::assertSame(0, $stats['totals']['flushes']);
    }

    public function testTheFactoryMakesASyncBufferInATestingEnvironment(): void
    {
        putenv('APP_ENV=testing');
        self::assertInstanceOf(SyncWriteBuffer::class, WriteBufferFactory::create(new PDO('sqlite::memory:')));
        putenv('APP_ENV=production');
        self::assertInstanceOf(WriteBuffer::class, WriteBufferFactory::create(new PDO('sqlite::memory:')));
    }

    public function testTheFactoryMakesASyncBufferWhenAsked(): void
    {
        self::assertInstanceOf(SyncWriteBuffer::class, WriteBufferFactory::createSync(new PDO('sqlite::memory:')));
        putenv('WRITE_BUFFER_SYNC=true');
        try {
            self::assertInstanceOf(SyncWriteBuffer::class, WriteBufferFactory::create(new PDO('sqlite::memory:')));
        } finally {
            putenv('WRITE_BUFFER_SYNC');
        }
    }

    public function testTheFactoryMakesAnAsyncBufferWithCustomConfiguration(): void
    {
        $buffer = WriteBufferFactory::createAsync(maxBufferSize: 50, flushIntervalMs: 1000, maxRetries: 5);
        self::assertInstanceOf(WriteBuffer::class, $buffer);
        self::assertSame(
            ['max_buffer_size' => 50, 'flush_interval_ms' => 1000, 'max_retries' => 5],
            array_slice($buffer->getStats()['config'], 0, 3)
        );
    }

    public function testTheSyncBuffersStatisticsHaveTheOriginsStructure(): void
    {
        self::assertOriginsStructure(WriteBufferFactory::createSync(new PDO('sqlite::memory:'))->getStats());
    }

    public function testTheAsyncBuffersStatisticsHaveTheOriginsStructure(): void
    {
        self::assertOriginsStructure(WriteBufferFactory::createAsync()->getStats());
    }

    /** @param array<string, mixed> $stats */
    private static function assertOriginsStructure(array $stats): void
    {
        $structure = [
            'buffer' => ['orders', 'trades', 'balances', 'total'],
            'config' => ['max_buffer_size', 'flush_interval_ms', 'max_retries'],
            'totals' => [
                'orders_written', 'trades_written', 'balances_written', 'flushes', 'avg_flush_duration_ms',
            ],
        ];
        foreach ($structure as $part => $keys) {
            foreach ($keys as $key) {
                self::assertArrayHasKey($key, $stats[$part]);
                self::assertIsNumeric($stats[$part][$key], "$part.$key");
            }
        }
    }
}
