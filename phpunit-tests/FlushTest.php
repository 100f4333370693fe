<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use WriteBuffer;
use WriteBuffer\Exception\BufferFullException;
use WriteBuffer\Exception\ClosedException;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;

/**
 * When rows are written, and what a flush says of it.
 */
final class FlushTest extends DatabaseTestCase
{
    public function testAFlushIsABarrier(): void
    {
        $buffer = $this->buffer();
        for ($id = 1; $id <= 500; $id++) {
            $buffer->addOrder($id, self::order());
            $buffer->addTrade(self::trade($id));
        }
        $result = $buffer->flush();
        self::assertSucceeded($result);
        self::assertSame([500, 500], [Database::count('orders'), Database::count('order_transactions')]);
        self::assertSame(1000, $result->getSequence());
        self::assertSame(1000, $buffer->committedSequence());
        self::assertCount(0, $buffer);
    }

    public function testAResultCountsMergedRows(): void
    {
        Database::createAccount(1, 'usd');
        Database::createAccount(1, 'btc');
        $buffer = $this->buffer(['tables' => ['more' => ['mode' => 'insert', 'table' => 'order_transactions']]]);
        for ($i = 0; $i < 3; $i++) {
            $buffer->addOrder(1, self::order());
            $buffer->addOrder(2, self::order());
            $buffer->addTrade(self::trade());
            $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
            $buffer->addBalanceUpdate(1, 'btc', ['balance' => '1']);
            $buffer->add('more', self::trade());
        }
        $result = $buffer->flush();
        self::assertSucceeded($result);
        self::assertSame(2, $result->getOrdersWritten());
        self::assertSame(3, $result->getTradesWritten());
        self::assertSame(2, $result->getBalancesWritten());
        self::assertSame(10, $result->getTotalWritten(), 'other tables are part of the total');
        self::assertSame(18, $result->getSequence());
        self::assertGreaterThan(0.0, $result->getDurationMs());
    }

    public function testNothingWrittenInTheBackgroundGoesUnreported(): void
    {
        $buffer = $this->buffer([], maxBufferSize: 10);
        for ($id = 1; $id <= 10; $id++) {
            $buffer->addOrder($id, self::order());
        }
        $this->eventually(static fn (): bool => $buffer->committedSequence() === 10, 'written at max size');
        $buffer->addOrder(11, self::order());
        $result = $buffer->flush();
        self::assertSucceeded($result);
        self::assertSame(11, $result->getOrdersWritten());
        self::assertSame(0, $buffer->flush()->getOrdersWritten(), 'reported once');
    }

    public function testAFlushOfNothingIsAnEmptySuccess(): void
    {
        $buffer = $this->buffer();
        $result = $buffer->flush();
        self::assertSucceeded($result);
        self::assertSame(0, $result->getTotalWritten());
        self::assertFalse($buffer->getStats()['connected'], 'nothing to write, nobody to talk to');
    }

    public function testMaxSizeStartsAWrite(): void
    {
        $buffer = $this->buffer([], maxBufferSize: 5);
        for ($id = 1; $id <= 5; $id++) {
            $buffer->addOrder($id, self::order());
        }
        $this->eventually(static fn (): bool => Database::count('orders') === 5, 'written at max size');
    }

    public function testMaxSizeStartsAWriteAtAnyPaceOfRows(): void
    {
        foreach ([2, 5, 20] as $size) {
            $buffer = $this->buffer([], maxBufferSize: $size);
            for ($id = 1; $id <= $size; $id++) {
                $buffer->addOrder($size * 100 + $id, self::order());
                // The writer has looked, and sleeps again, before the next row comes.
                usleep(3_000);
            }
            $this->eventually(static fn (): bool => $buffer->committedSequence() === $size, "written at $size rows", 5);
        }
    }

    public function testAgeStartsAWrite(): void
    {
        $buffer = $this->buffer([], flushIntervalMs: 30);
        $buffer->addOrder(1, self::order());
        $this->eventually(static fn (): bool => Database::count('orders') === 1, 'written at the interval');
        $buffer->addOrder(2, self::order());
        $this->eventually(static fn (): bool => Database::count('orders') === 2, 'and again');
    }

    public function testBytesStartAWrite(): void
    {
        Database::create('wb_texts', 'id BIGINT PRIMARY KEY, text ' . (Database::isSqlite() ? 'TEXT' : 'MEDIUMTEXT'));
        $texts = ['texts' => ['mode' => 'upsert', 'table' => 'wb_texts', 'key' => 'id']];
        $buffer = $this->buffer(['tables' => $texts, 'max_pending_bytes' => 1 << 20]);
        for ($id = 1; $id <= 40; $id++) {
            $buffer->add('texts', ['id' => $id, 'text' => str_repeat('x', 20_000)]);
        }
        $this->eventually(static fn (): bool => $buffer->committedSequence() > 0, 'written at the memory bound');
    }

    public function testAFailedFlushKeepsEveryRow(): void
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        $buffer->addOrder(2, self::order());
        $lock = Database::blockWrites('orders');
        $result = $buffer->flush(200);
        self::assertFalse($result->isSuccess());
        self::assertSame(2, $result->getPending());
        self::assertSame(0, $result->getTotalWritten());
        self::assertSame(0, $result->getSequence());
        self::assertCount(2, $buffer);
        $lock->exec('ROLLBACK');
        $result = $buffer->flush(20_000);
        self::assertSucceeded($result);
        self::assertSame(2, $result->getOrdersWritten());
        self::assertSame(2, Database::count('orders'));
    }

    public function testATimeoutOfZeroDoesNotWait(): void
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        $lock = Database::blockWrites('orders');
        $result = $buffer->flush(0);
        self::assertFalse($result->isSuccess());
        self::assertSame(1, $result->getPending());
        $lock->exec('ROLLBACK');
        self::assertTrue($buffer->waitFor(1, 20_000), 'it was asked for all the same');
    }

    public function testSignalHandlersRunWhileAFlushWaits(): void
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        $lock = Database::blockWrites('orders');
        $before = pcntl_async_signals(true);
        $calls = 0;
        pcntl_signal(SIGALRM, static function () use ($lock, &$calls): void {
            $calls++;
            $lock->exec('ROLLBACK');
        });
        pcntl_alarm(1);
        try {
            // Only the handler, called while flush() waits, lets it succeed.
            $result = $buffer->flush(20_000);
        } finally {
            pcntl_alarm(0);
            pcntl_signal(SIGALRM, SIG_DFL);
            pcntl_async_signals($before);
        }
        self::assertSame(1, $calls);
        self::assertSucceeded($result);
    }

    public function testAnExceptionOfASignalHandlerComesThrough(): void
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        $lock = Database::blockWrites('orders');
        $before = pcntl_async_signals(true);
        pcntl_signal(SIGALRM, static fn () => throw new \DomainException('time is up'));
        pcntl_alarm(1);
        try {
            self::thrown(\DomainException::class, static fn () => $buffer->flush(20_000));
        } finally {
            pcntl_alarm(0);
            pcntl_signal(SIGALRM, SIG_DFL);
            pcntl_async_signals($before);
            $lock->exec('ROLLBACK');
        }
        self::assertSucceeded($buffer->flush(20_000));
        self::assertSame(1, Database::count('orders'));
    }

    public function testWithoutADsnAFlushOfPendingRowsFails(): void
    {
        $buffer = $this->bufferInMemory();
        self::assertSucceeded($buffer->flush());
        $buffer->addOrder(1, self::order());
        $result = $buffer->flush();
        self::assertFalse($result->isSuccess());
        self::assertStringContainsString('DSN', implode("\n", $result->getErrors()));
        self::assertSame([1, 0], [$result->getPending(), $result->getTotalWritten()]);
        self::assertCount(1, $buffer);
        self::assertSame('new', $buffer->find('orders', 1)['status']);
        self::assertFalse($buffer->waitFor(1, 10));
        self::assertSame(2, $buffer->add('orders', ['id' => 2]));
        $buffer->clear();
        self::assertCount(0, $buffer);
        self::assertSame(2, $buffer->committedSequence(), 'discarded rows are settled');
        self::assertTrue($buffer->waitFor(2, 0));
        self::assertSame(2, $buffer->getStats()['discarded']);
        self::assertSucceeded($buffer->flush());
    }

    public function testWithoutADsnAFullBufferThrowsAtOnce(): void
    {
        foreach (['block', 'throw'] as $onFull) {
            $buffer = $this->bufferInMemory(['max_pending_rows' => 2, 'on_full' => $onFull]);
            $buffer->addOrder(1, ['status' => 'new']);
            $buffer->addOrder(1, ['status' => 'executed']);
            $full = self::thrown(BufferFullException::class, static fn () => $buffer->addOrder(1, ['status' => 'x']));
            self::assertStringContainsString('max_pending_rows', $full->getMessage());
            self::assertSame(2, $buffer->sequence());
            self::assertSame('executed', $buffer->find('orders', 1)['status']);
            $buffer->clear();
            $buffer->addOrder(1, ['status' => 'new']);
        }
    }

    public function testMaxPendingBytesIsABoundToo(): void
    {
        $buffer = $this->bufferInMemory(['max_pending_bytes' => 65_536]);
        $full = self::thrown(BufferFullException::class, static function () use ($buffer): void {
            for ($id = 1; $id <= 100_000; $id++) {
                $buffer->addOrder($id, ['status' => str_repeat('x', 100)]);
            }
        });
        self::assertStringContainsString('max_pending_bytes', $full->getMessage());
        self::assertGreaterThan(50, count($buffer));
        self::assertLessThan(656, count($buffer));
        $accepted = $buffer->sequence();
        self::assertCount($accepted, $buffer);
    }

    public function testAFullBufferBlocksUntilTheWriterMakesRoom(): void
    {
        $buffer = $this->buffer(['max_pending_rows' => 20], maxBufferSize: 10);
        for ($id = 1; $id <= 1_000; $id++) {
            $buffer->addOrder($id, self::order());
            self::assertLessThanOrEqual(20, $buffer->getStats()['pending']['rows']);
        }
        self::assertSucceeded($buffer->flush());
        self::assertSame(1_000, Database::count('orders'));
    }

    public function testABlockedAddGivesUpAfterItsTimeout(): void
    {
        $buffer = $this->buffer(['max_pending_rows' => 2, 'block_timeout_ms' => 150]);
        $lock = Database::blockWrites('orders');
        $buffer->addOrder(1, self::order());
        $buffer->addOrder(2, self::order());
        $full = self::thrown(BufferFullException::class, static fn () => $buffer->addOrder(3, self::order()));
        self::assertStringContainsString('150 ms', $full->getMessage());
        self::assertSame(2, $buffer->sequence());
        $lock->exec('ROLLBACK');
        self::assertSucceeded($buffer->flush(20_000));
        self::assertSame(3, $buffer->add('orders', ['id' => 3] + self::order()));
        self::assertSucceeded($buffer->flush());
        self::assertSame(3, Database::count('orders'));
    }

    public function testAFullBufferThrowsAtOnceWhenItIsToldTo(): void
    {
        $buffer = $this->buffer(['max_pending_rows' => 2, 'on_full' => 'throw', 'block_timeout_ms' => self::NEVER_MS]);
        $lock = Database::blockWrites('orders');
        $buffer->addOrder(1, self::order());
        $buffer->addOrder(2, self::order());
        self::thrown(BufferFullException::class, static fn () => $buffer->addOrder(3, self::order()));
        self::thrown(BufferFullException::class, static fn () => $buffer->delete('orders', 1));
        $lock->exec('ROLLBACK');
        self::assertSucceeded($buffer->flush(20_000));
    }

    public function testShouldFlushCountsRowsThatNoWriterHasTaken(): void
    {
        $buffer = $this->connectedBuffer([], maxBufferSize: 2);
        self::assertFalse($buffer->shouldFlush());
        $lock = Database::blockWrites('orders');
        $buffer->addOrder(1, self::order());
        $buffer->addOrder(2, self::order());
        $this->eventually(static fn (): bool => !$buffer->shouldFlush(), 'taken by the writer');
        self::assertCount(2, $buffer, 'and still pending');
        $buffer->addOrder(3, self::order());
        self::assertFalse($buffer->shouldFlush());
        $buffer->addOrder(4, self::order());
        self::assertTrue($buffer->shouldFlush());
        $lock->exec('ROLLBACK');
        self::assertSucceeded($buffer->flush(20_000));
        self::assertFalse($buffer->shouldFlush());
    }

    public function testTheTimeOfTheLastFlushIsKept(): void
    {
        $buffer = $this->buffer();
        $buffer->setLastFlushTime(microtime(true) * 1000 - 60_000);
        self::assertGreaterThanOrEqual(60_000.0, $buffer->getTimeSinceLastFlush());
        $buffer->addOrder(1, self::order());
        $buffer->flush();
        self::assertLessThan(60_000.0, $buffer->getTimeSinceLastFlush());
        self::assertGreaterThanOrEqual(0.0, $buffer->getTimeSinceLastFlush());
    }

    public function testWaitForTriggersWriting(): void
    {
        $buffer = $this->buffer();
        $first = $buffer->add('orders', ['id' => 1] + self::order());
        $second = $buffer->add('orders', ['id' => 2] + self::order());
        self::assertSame(0, $buffer->committedSequence());
        self::assertTrue($buffer->waitFor($first));
        self::assertGreaterThanOrEqual($first, $buffer->committedSequence());
        self::assertTrue($buffer->waitFor($second, 10_000));
        self::assertSame(2, Database::count('orders'));
    }

    public function testWaitForSaysFalseAtItsTimeoutAndForNumbersNotGivenOut(): void
    {
        $buffer = $this->buffer();
        self::assertTrue($buffer->waitFor(0, 0));
        self::assertTrue($buffer->waitFor(-5, 0));
        self::assertFalse($buffer->waitFor(1, 10));
        $buffer->addOrder(1, self::order());
        $lock = Database::blockWrites('orders');
        self::assertFalse($buffer->waitFor(1, 100));
        self::assertFalse($buffer->waitFor(2, 10));
        self::assertFalse($buffer->waitFor(PHP_INT_MAX, 10));
        $lock->exec('ROLLBACK');
        self::assertTrue($buffer->waitFor(1, 20_000));
    }

    public function testClearDiscardsWhatNoWriterHasTaken(): void
    {
        $buffer = $this->connectedBuffer();
        $buffer->addOrder(1, self::order());
        $lock = Database::blockWrites('orders');
        self::assertFalse($buffer->flush(200)->isSuccess());
        $buffer->addOrder(2, self::order());
        $buffer->addOrder(2, self::order('executed'));
        $buffer->clear();
        self::assertCount(1, $buffer, 'what is being written stays');
        self::assertSame(2, $buffer->getStats()['discarded']);
        $lock->exec('ROLLBACK');
        self::assertSucceeded($buffer->flush(20_000));
        self::assertEquals([1], array_column(Database::rows('SELECT id FROM orders'), 'id'));
        self::assertSame(4, $buffer->committedSequence());
        $buffer->addOrder(4, self::order());
        self::assertSucceeded($buffer->flush());
        self::assertSame(2, Database::count('orders'));
    }

    public function testCloseWritesWhatIsPendingAndEndsTheBuffer(): void
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        $result = $buffer->close();
        self::assertSucceeded($result);
        self::assertSame(1, $result->getOrdersWritten());
        self::assertSame(1, Database::count('orders'));
        $calls = [
            static fn () => $buffer->add('orders', ['id' => 2]),
            static fn () => $buffer->addOrder(2, self::order()),
            static fn () => $buffer->addTrade(self::trade()),
            static fn () => $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']),
            static fn () => $buffer->delete('orders', 1),
            static fn () => $buffer->beginTransaction(),
        ];
        foreach ($calls as $call) {
            self::thrown(ClosedException::class, $call);
        }
        self::assertSame(1, $buffer->sequence());
        self::assertCount(0, $buffer);
        self::assertSame(1, $buffer->getStats()['totals']['orders_written']);
    }

    public function testAClosedNameCanBeOpenedAgain(): void
    {
        $options = ['dsn' => Database::dsn()];
        $first = WriteBuffer::open('flush-reopened', $options);
        $first->addOrder(1, self::order());
        self::assertSucceeded($first->close());
        $left = Database::value("SELECT COUNT(*) FROM write_buffer_checkpoints WHERE writer LIKE 'flush-reopened-%'");
        self::assertEquals(0, $left, 'it has left the database');
        $second = $this->kept(WriteBuffer::open('flush-reopened', $options + ['max_buffer_size' => 7]));
        self::assertSame(1, $second->add('orders', ['id' => 2] + self::order()));
        self::assertSucceeded($second->flush());
        self::assertSame(2, Database::count('orders'));
        self::thrown(ClosedException::class, static fn () => $first->addOrder(3, self::order()));
    }

    public function testANameIsOneBuffer(): void
    {
        $options = ['dsn' => Database::dsn(), 'flush_interval_ms' => self::NEVER_MS];
        $first = $this->kept(WriteBuffer::open('flush-named', $options));
        $first->addOrder(1, self::order());
        self::assertCount(1, WriteBuffer::open('flush-named'));
        self::assertCount(1, WriteBuffer::open('flush-named', $options));
        $other = self::thrown(
            ConfigurationException::class,
            static fn () => WriteBuffer::open('flush-named', ['max_buffer_size' => 5] + $options)
        );
        self::assertStringContainsString('flush-named', $other->getMessage());
        self::assertStringNotContainsString(Database::isSqlite() ? "\0" : Database::parts()['password'], $other->getMessage());
        self::assertCount(0, $this->kept(WriteBuffer::open('flush-named-2', $options)));
        unset($first);
        self::assertCount(1, WriteBuffer::open('flush-named'), 'it outlives its handles');
    }

    public function testNoRowIsLostWhenAHandleGoes(): void
    {
        $buffer = new WriteBuffer(1_000_000, self::NEVER_MS, 3, ['dsn' => Database::dsn()]);
        for ($id = 1; $id <= 100; $id++) {
            $buffer->addOrder($id, self::order());
        }
        unset($buffer);
        $this->eventually(static fn (): bool => Database::count('orders') === 100, 'written without a handle');
    }

    public function testManyBuffersWriteToOneDatabase(): void
    {
        Database::createAccount(1, 'usd');
        $buffers = [];
        for ($i = 0; $i < 8; $i++) {
            $buffers[] = $this->buffer();
        }
        for ($round = 1; $round <= 10; $round++) {
            foreach ($buffers as $i => $buffer) {
                $buffer->addTrade(self::trade($i * 100 + $round));
                $buffer->addBalanceUpdate(1, 'usd', ['balance' => '0.1']);
                $round % 3 || $buffer->flush(0);
            }
        }
        foreach ($buffers as $buffer) {
            self::assertSucceeded($buffer->flush(60_000));
        }
        self::assertSame(80, Database::count('order_transactions'));
        self::assertDecimal('8', Database::value('SELECT balance FROM spot_usd_accounts'));
    }
}
