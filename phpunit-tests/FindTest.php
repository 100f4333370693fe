<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use WriteBuffer;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;

/**
 * find() shows what the database does not have yet.
 */
final class FindTest extends DatabaseTestCase
{
    private const TABLES = [
        'members' => ['mode' => 'upsert', 'key' => ['group' => 'group_id', 'user' => 'user_id'], 'table' => 'wb_members'],
        'events' => ['mode' => 'insert', 'unique' => ['source', 'number']],
        'volumes' => ['mode' => 'delta', 'key' => 'day', 'delta' => ['volume'], 'table' => 'volume_{coin}'],
    ];

    public function testNothingPendingIsNull(): void
    {
        $buffer = $this->bufferInMemory();
        self::assertNull($buffer->find('orders', 1));
        $buffer->addOrder(2, ['status' => 'new']);
        self::assertNull($buffer->find('orders', 1));
    }

    public function testAPendingDeletionIsAnEmptyArray(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->delete('orders', 1);
        self::assertSame([], $buffer->find('orders', 1));
    }

    public function testColumnsHaveTheRowsFieldNames(): void
    {
        $buffer = $this->bufferInMemory(['tables' => self::TABLES]);
        $buffer->addBalanceUpdate(3, 'usd', ['balance' => '1.50']);
        $found = $buffer->find('balances', ['user_id' => 3, 'currency' => 'usd']);
        self::assertSame(['user_id', 'balance'], array_keys($found));
        $buffer->add('members', ['user' => 1, 'group' => 2, 'role' => 'admin']);
        self::assertEquals(
            ['group' => 2, 'user' => 1, 'role' => 'admin'],
            $buffer->find('members', ['group' => 2, 'user' => 1])
        );
        self::assertNull($buffer->find('members', ['group' => 1, 'user' => 2]));
    }

    public function testValuesComeBackAsTheyWereGiven(): void
    {
        $buffer = $this->bufferInMemory();
        $row = ['status' => 'new', 'a' => null, 'b' => true, 'c' => false, 'd' => -5, 'e' => 1.25, 'f' => "\0\xff", 'g' => ''];
        $buffer->addOrder(1, $row);
        self::assertSame(['id' => 1] + $row, $buffer->find('orders', 1));
    }

    public function testDeltasAreExactDecimalStrings(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => 5, 'available_balance' => '0.1']);
        $buffer->addBalanceUpdate(1, 'usd', ['available_balance' => '0.2']);
        $found = $buffer->find('balances', ['user_id' => 1, 'currency' => 'usd']);
        self::assertSame('5', $found['balance']);
        self::assertSame('0.3', $found['available_balance']);
    }

    public function testARowIsFoundByItsUniqueKey(): void
    {
        $buffer = $this->bufferInMemory(['tables' => self::TABLES]);
        $buffer->add('events', ['source' => 's', 'number' => 1, 'text' => 'a']);
        self::assertSame('a', $buffer->find('events', ['source' => 's', 'number' => 1])['text']);
        self::assertNull($buffer->find('events', ['source' => 's', 'number' => 2]));
    }

    public function testATemplateNeedsItsFieldInTheKey(): void
    {
        $buffer = $this->bufferInMemory(['tables' => self::TABLES]);
        $buffer->add('volumes', ['day' => '2026-05-02', 'coin' => 'btc', 'volume' => '1']);
        $found = $buffer->find('volumes', ['coin' => 'btc', 'day' => '2026-05-02']);
        self::assertSame(['day' => '2026-05-02', 'volume' => '1'], $found);
        self::assertNull($buffer->find('volumes', ['coin' => 'eth', 'day' => '2026-05-02']));
    }

    public function testASingleKeyMayBeAnArrayToo(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->addOrder(1, ['status' => 'new']);
        self::assertSame($buffer->find('orders', 1), $buffer->find('orders', ['id' => '1']));
    }

    public function testItSeesTheOwnOpenTransaction(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->addOrder(1, ['status' => 'new', 'price' => '5']);
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '5']);
        $buffer->beginTransaction();
        $buffer->addOrder(1, ['status' => 'executed']);
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '-2']);
        $buffer->delete('orders', 2);
        self::assertSame(['id' => 1, 'status' => 'executed', 'price' => '5'], $buffer->find('orders', 1));
        self::assertDecimal('3', $buffer->find('balances', ['user_id' => 1, 'currency' => 'usd'])['balance']);
        self::assertSame([], $buffer->find('orders', 2));
        $buffer->rollBack();
        self::assertSame('new', $buffer->find('orders', 1)['status']);
        self::assertDecimal('5', $buffer->find('balances', ['user_id' => 1, 'currency' => 'usd'])['balance']);
        self::assertNull($buffer->find('orders', 2));
    }

    public function testADeletionInTheOpenTransactionCoversWhatIsPending(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->addOrder(1, ['status' => 'new', 'price' => '5']);
        $buffer->beginTransaction();
        $buffer->delete('orders', 1);
        self::assertSame([], $buffer->find('orders', 1));
        $buffer->addOrder(1, ['status' => 'again']);
        self::assertSame(['id' => 1, 'status' => 'again'], $buffer->find('orders', 1));
        $buffer->commit();
        self::assertSame(['id' => 1, 'status' => 'again'], $buffer->find('orders', 1));
    }

    public function testItSeesRowsInFlight(): void
    {
        Database::createOrder(1);
        $buffer = $this->connectedBuffer();
        $buffer->addOrder(1, ['status' => 'executing', 'executed_quantity' => '4']);
        $lock = Database::blockWrites('orders');
        self::assertFalse($buffer->flush(300)->isSuccess());
        self::assertSame('executing', $buffer->find('orders', 1)['status']);
        $buffer->addOrder(1, ['status' => 'executed']);
        self::assertSame(
            ['id' => 1, 'status' => 'executed', 'executed_quantity' => '4'],
            $buffer->find('orders', 1)
        );
        $buffer->delete('orders', 1);
        self::assertSame([], $buffer->find('orders', 1));
        $lock->exec('ROLLBACK');
        self::assertSucceeded($buffer->flush(20_000));
        self::assertNull($buffer->find('orders', 1));
        self::assertSame(0, Database::count('orders'));
    }

    public function testItFindsNothingAfterTheFlushAndNothingAfterClear(): void
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        self::assertSucceeded($buffer->flush());
        self::assertNull($buffer->find('orders', 1));
        $buffer->addOrder(1, ['status' => 'executed']);
        $buffer->clear();
        self::assertNull($buffer->find('orders', 1));
    }

    public function testItDoesNotChangeWhatIsPending(): void
    {
        $buffer = $this->bufferInMemory();
        $buffer->addOrder(1, ['status' => 'new']);
        $found = $buffer->find('orders', 1);
        $found['status'] = 'changed';
        self::assertSame('new', $buffer->find('orders', 1)['status']);
        self::assertSame(1, $buffer->sequence());
        self::assertCount(1, $buffer);
    }
}
