<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use RuntimeException;
use WriteBuffer;
use WriteBuffer\Exception\BufferFullException;
use WriteBuffer\Exception\ClosedException;
use WriteBuffer\Exception\InvalidRowException;
use WriteBuffer\Exception\TransactionException;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;

/**
 * A transaction is one atomic group, or nothing.
 */
final class TransactionTest extends DatabaseTestCase
{
    public function testNothingIsBufferedBeforeTheCommit(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->addOrder(1, ['status' => 'new']);
        $buffer->beginTransaction();
        $buffer->addOrder(2, ['status' => 'new']);
        $buffer->addTrade(['price' => '1']);
        self::assertCount(1, $buffer);
        self::assertSame(1, $buffer->sequence());
        self::assertSame(3, $buffer->commit());
        self::assertCount(3, $buffer);
        self::assertSame(3, $buffer->sequence());
    }

    public function testAddReturnsTheNumberARowGetsAtTheCommit(): void
    {
        $buffer = $this->bufferInMemory();
        self::assertSame(1, $buffer->add('orders', ['id' => 1]));
        $buffer->beginTransaction();
        self::assertSame(2, $buffer->add('orders', ['id' => 2]));
        self::assertSame(3, $buffer->delete('orders', 3));
        self::assertSame(3, $buffer->commit());
        self::assertSame(4, $buffer->add('orders', ['id' => 4]));
    }

    public function testARolledBackGroupUsesNoNumbersAndBuffersNothing(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->add('orders', ['id' => 1]);
        $buffer->beginTransaction();
        self::assertSame(2, $buffer->add('orders', ['id' => 2]));
        $buffer->rollBack();
        self::assertCount(1, $buffer);
        self::assertNull($buffer->find('orders', 2));
        self::assertSame(2, $buffer->add('orders', ['id' => 3]));
    }

    public function testAnEmptyTransactionCommitsToTheLastNumber(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->beginTransaction();
        self::assertSame(0, $buffer->commit());
        $buffer->add('orders', ['id' => 1]);
        self::assertSame('nothing', $buffer->transaction(static fn (): string => 'nothing'));
        self::assertSame(1, $buffer->sequence());
    }

    public function testMisuseIsATransactionException(): void
    {
        $buffer = $this->bufferInMemory();
        self::thrown(TransactionException::class, static fn () => $buffer->commit());
        self::thrown(TransactionException::class, static fn () => $buffer->rollBack());
        $buffer->beginTransaction();
        self::thrown(TransactionException::class, static fn () => $buffer->beginTransaction());
        self::thrown(TransactionException::class, static fn () => $buffer->transaction(static fn () => 1));
        $buffer->add('orders', ['id' => 1]);
        self::assertSame(1, $buffer->commit());
        self::thrown(TransactionException::class, static fn () => $buffer->commit());
    }

    public function testACallbackGetsTheBufferAndItsResultIsReturned(): void
    {
        $buffer = $this->bufferInMemory();
        $result = $buffer->transaction(function (WriteBuffer $given) use ($buffer): array {
            self::assertSame($buffer, $given);
            $given->addOrder(1, ['status' => 'new']);
            $given->addTrade(['price' => '1']);
            return ['any', 'thing'];
        });
        self::assertSame(['any', 'thing'], $result);
        self::assertCount(2, $buffer);
        self::assertNull($buffer->transaction(static function (): void {
        }));
    }

    public function testAnExceptionInTheCallbackBuffersNothingAndComesThrough(): void
    {
        $buffer = $this->bufferInMemory();
        $error = new RuntimeException('no');
        $seen = self::thrown(RuntimeException::class, static fn () => $buffer->transaction(
            static function (WriteBuffer $buffer) use ($error): void {
                $buffer->addOrder(1, ['status' => 'new']);
                throw $error;
            }
        ));
        self::assertSame($error, $seen);
        self::assertNull($seen->getPrevious());
        self::assertCount(0, $buffer);
        self::assertSame(0, $buffer->sequence());
        self::assertSame(1, $buffer->transaction(static fn (WriteBuffer $b): int => $b->add('orders', ['id' => 1])));
    }

    public function testAnErrorInTheCallbackBuffersNothing(): void
    {
        $buffer = $this->bufferInMemory();
        self::thrown(\TypeError::class, static fn () => $buffer->transaction(static function (WriteBuffer $buffer): void {
            $buffer->addOrder(1, ['status' => 'new']);
            strlen([]);
        }));
        self::assertCount(0, $buffer);
        $buffer->beginTransaction();
        $buffer->rollBack();
    }

    public function testABadRowInTheCallbackBuffersNothingOfTheGroup(): void
    {
        $buffer = $this->bufferInMemory();
        self::thrown(InvalidRowException::class, static fn () => $buffer->transaction(
            static function (WriteBuffer $buffer): void {
                $buffer->addBalanceUpdate(1, 'usd', ['balance' => '-5']);
                $buffer->addBalanceUpdate(2, 'usd', ['balance' => 5.0]);
            }
        ));
        self::assertCount(0, $buffer);
    }

    public function testATransactionThatIsCaughtInsideGoesOn(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->transaction(static function (WriteBuffer $buffer): void {
            try {
                $buffer->addBalanceUpdate(2, 'usd', ['balance' => 5.0]);
            } catch (InvalidRowException) {
                $buffer->addBalanceUpdate(2, 'usd', ['balance' => '5']);
            }
        });
        self::assertCount(1, $buffer);
    }

    public function testTheTransactionBelongsToTheBufferNotTheHandle(): void
    {
        $a = $this->kept(WriteBuffer::open('transaction-shared', ['flush_interval_ms' => self::NEVER_MS]));
        $b = WriteBuffer::open('transaction-shared');
        $a->beginTransaction();
        self::thrown(TransactionException::class, static fn () => $b->beginTransaction());
        self::assertSame(1, $a->add('orders', ['id' => 1]));
        self::assertSame(2, $b->add('orders', ['id' => 2]));
        self::assertCount(0, $b);
        self::assertSame(2, $b->commit());
        self::assertCount(2, $a);
    }

    public function testDestroyingTheLastHandleRollsBackWithAWarning(): void
    {
        $warnings = self::warnings(static function (): void {
            $buffer = new WriteBuffer();
            $buffer->beginTransaction();
            $buffer->add('orders', ['id' => 1]);
            $buffer->add('orders', ['id' => 2]);
            unset($buffer);
        });
        self::assertCount(1, $warnings);
        self::assertStringStartsWith(E_WARNING . ': ', $warnings[0]);
        self::assertStringContainsString('transaction', $warnings[0]);
        self::assertStringContainsString('2 row', $warnings[0]);
    }

    public function testDestroyingOneOfTwoHandlesLeavesTheTransactionOpen(): void
    {
        $a = $this->kept(WriteBuffer::open('transaction-two', ['flush_interval_ms' => self::NEVER_MS]));
        $b = WriteBuffer::open('transaction-two');
        $b->beginTransaction();
        $b->add('orders', ['id' => 1]);
        self::assertSame([], self::warnings(static function () use (&$b): void {
            $b = null;
        }));
        self::assertSame(1, $a->commit());
    }

    public function testAFullBufferAtTheCommitLeavesTheTransactionOpen(): void
    {
        $buffer = $this->bufferInMemory(['max_pending_rows' => 3]);
        $buffer->add('orders', ['id' => 1]);
        $buffer->add('orders', ['id' => 2]);
        $buffer->beginTransaction();
        $buffer->add('orders', ['id' => 3]);
        $buffer->add('orders', ['id' => 4]);
        self::thrown(BufferFullException::class, static fn () => $buffer->commit());
        self::thrown(TransactionException::class, static fn () => $buffer->beginTransaction());
        self::assertCount(2, $buffer);
        self::assertSame(['id' => 3], $buffer->find('orders', 3));
        $buffer->rollBack();
        self::assertSame(3, $buffer->add('orders', ['id' => 5]));
    }

    public function testAGroupThatCanNeverFitIsRefused(): void
    {
        $buffer = $this->bufferInMemory(['max_pending_rows' => 3]);
        $buffer->beginTransaction();
        $refused = null;
        for ($id = 1; $id <= 4 && $refused === null; $id++) {
            try {
                $buffer->add('orders', ['id' => $id]);
            } catch (InvalidRowException $refused) {
            }
        }
        $refused ??= self::thrown(InvalidRowException::class, static fn () => $buffer->commit());
        self::assertStringContainsString('max_pending_rows', $refused->getMessage());
        $buffer->rollBack();
        self::assertCount(0, $buffer);
    }

    public function testClearEmptiesTheOpenTransaction(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->beginTransaction();
        $buffer->add('orders', ['id' => 1]);
        $buffer->clear();
        self::assertNull($buffer->find('orders', 1));
        $buffer->add('orders', ['id' => 2]);
        self::assertSame(1, $buffer->commit());
        self::assertCount(1, $buffer);
    }

    public function testAFlushDoesNotWriteTheOpenTransaction(): void
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        $buffer->beginTransaction();
        $buffer->addOrder(2, self::order());
        $result = $buffer->flush();
        self::assertSucceeded($result);
        self::assertSame(1, $result->getOrdersWritten());
        self::assertSame(1, Database::count('orders'));
        $buffer->commit();
        self::assertSame(1, $buffer->flush()->getOrdersWritten());
        self::assertSame(2, Database::count('orders'));
    }

    public function testRowsOfOneGroupReachTheDatabaseTogetherOrNotAtAll(): void
    {
        Database::createAccount(1, 'usd', '100');
        $buffer = $this->buffer();
        for ($match = 1; $match <= 20; $match++) {
            $buffer->transaction(static function (WriteBuffer $buffer) use ($match): void {
                $buffer->addTrade(self::trade($match));
                $buffer->addBalanceUpdate(1, 'usd', ['balance' => '-1']);
                // User 2 has no account: groups with an odd match are refused whole.
                $buffer->addBalanceUpdate($match % 2 ? 2 : 1, 'usd', ['balance' => '1', 'available_balance' => '1']);
            });
        }
        $result = $buffer->flush();
        self::assertFalse($result->isSuccess());
        self::assertSame(30, $result->getQuarantined());
        self::assertSame(range(2, 20, 2), array_map('intval', array_column(
            Database::rows('SELECT match_id FROM order_transactions ORDER BY match_id'),
            'match_id'
        )));
        self::assertDecimal('100', Database::value('SELECT balance FROM spot_usd_accounts WHERE id = 1'));
        self::assertDecimal('110', Database::value('SELECT available_balance FROM spot_usd_accounts WHERE id = 1'));
    }

    public function testMergingDoesNotTakeAGroupApart(): void
    {
        Database::createAccount(1, 'usd', '0');
        $buffer = $this->buffer();
        // One merged row of three groups, the middle one of which is refused.
        foreach ([1 => '1', 2 => '10', 3 => '100'] as $match => $amount) {
            $buffer->transaction(static function (WriteBuffer $buffer) use ($match, $amount): void {
                $buffer->addBalanceUpdate(1, 'usd', ['balance' => $amount]);
                $buffer->addTrade($match === 2 ? ['match_id' => 2, 'price' => null, 'quantity' => '1'] : self::trade($match));
            });
        }
        self::assertSame(2, $buffer->flush()->getQuarantined());
        self::assertDecimal('101', Database::value('SELECT balance FROM spot_usd_accounts WHERE id = 1'));
        self::assertSame(2, Database::count('order_transactions'));
    }

    public function testARolledBackTransactionReachesNoDatabase(): void
    {
        $buffer = $this->buffer();
        $buffer->beginTransaction();
        $buffer->addOrder(1, self::order());
        $buffer->rollBack();
        $result = $buffer->flush();
        self::assertSucceeded($result);
        self::assertSame(0, $result->getTotalWritten());
        self::assertSame(0, Database::count('orders'));
    }

    public function testAClosedBufferHasNoTransactions(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->close(0);
        self::thrown(ClosedException::class, static fn () => $buffer->beginTransaction());
        self::thrown(ClosedException::class, static fn () => $buffer->transaction(static fn () => 1));
    }

    public function testClosingWithAnOpenTransactionRollsItBackAndSaysSo(): void
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        $buffer->beginTransaction();
        $buffer->addOrder(2, self::order());
        $result = $buffer->close();
        self::assertSame(1, $result->getOrdersWritten());
        self::assertSame(1, Database::count('orders'));
        self::assertStringContainsString('transaction', implode("\n", $result->getErrors()));
    }
}
