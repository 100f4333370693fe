<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;

/**
 * Several changes of one row become one, exactly.
 */
final class MergeTest extends DatabaseTestCase
{
    private const TABLES = [
        'counters' => ['mode' => 'delta', 'key' => 'name', 'delta' => ['n', 'm']],
        'pairs' => ['mode' => 'upsert', 'key' => ['a', 'b']],
        'versioned' => ['mode' => 'upsert', 'key' => 'id', 'version' => 'v'],
    ];

    private WriteBuffer $buffer;

    protected function setUp(): void
    {
        $this->buffer = $this->bufferInMemory(['tables' => self::TABLES]);
    }

    public function testTheLastValueOfEachColumnWins(): void
    {
        $this->buffer->addOrder(1, ['status' => 'new', 'price' => '5', 'note' => 'x']);
        $this->buffer->addOrder(1, ['status' => 'executing', 'executed_quantity' => '1']);
        $this->buffer->addOrder(1, ['status' => 'executed', 'note' => null]);
        self::assertCount(1, $this->buffer);
        self::assertSame(3, $this->buffer->sequence());
        self::assertSame(
            ['id' => 1, 'status' => 'executed', 'price' => '5', 'note' => null, 'executed_quantity' => '1'],
            $this->buffer->find('orders', 1)
        );
    }

    public function testAnIntKeyAndItsTextAreOneKey(): void
    {
        $this->buffer->add('orders', ['id' => 5, 'status' => 'a']);
        $this->buffer->add('orders', ['id' => '5', 'status' => 'b']);
        self::assertCount(1, $this->buffer);
        self::assertSame('b', $this->buffer->find('orders', '5')['status']);
        self::assertSame('b', $this->buffer->find('orders', 5)['status']);
        $this->buffer->add('orders', ['id' => '05', 'status' => 'c']);
        self::assertCount(2, $this->buffer);
    }

    public function testPartsOfAKeyDoNotRunIntoEachOther(): void
    {
        $this->buffer->add('pairs', ['a' => '1', 'b' => '23', 'v' => 1]);
        $this->buffer->add('pairs', ['a' => '12', 'b' => '3', 'v' => 2]);
        $this->buffer->add('pairs', ['a' => '', 'b' => '123', 'v' => 3]);
        self::assertCount(3, $this->buffer);
        self::assertSame(2, $this->buffer->find('pairs', ['a' => 12, 'b' => 3])['v']);
        self::assertSame(1, $this->buffer->find('pairs', ['b' => '23', 'a' => '1'])['v']);
    }

    public function testTheOrderOfColumnsDoesNotMatter(): void
    {
        $this->buffer->add('pairs', ['a' => 1, 'b' => 2, 'v' => 3]);
        $this->buffer->add('pairs', ['v' => 4, 'b' => 2, 'a' => 1]);
        self::assertCount(1, $this->buffer);
        self::assertEquals(['a' => 1, 'b' => 2, 'v' => 4], $this->buffer->find('pairs', ['a' => 1, 'b' => 2]));
    }

    public function testAnIdInTheDataDoesNotReplaceTheOrdersId(): void
    {
        $this->buffer->addOrder(1, ['id' => 2, 'status' => 'new']);
        $this->buffer->addOrder(3, ['status' => 'new', 'id' => 4]);
        self::assertSame('new', $this->buffer->find('orders', 1)['status']);
        self::assertSame('new', $this->buffer->find('orders', 3)['status']);
        self::assertNull($this->buffer->find('orders', 2));
        $this->buffer->addBalanceUpdate(5, 'usd', ['currency' => 'btc', 'balance' => '1', 'user_id' => 6]);
        self::assertNotNull($this->buffer->find('balances', ['user_id' => 5, 'currency' => 'usd']));
        self::assertNull($this->buffer->find('balances', ['user_id' => 6, 'currency' => 'btc']));
    }

    public function testAnIdInTheDataIsRecognisedInAWideRowToo(): void
    {
        $columns = array_map(static fn (int $n): string => "c$n", range(1, 70));
        $data = array_fill_keys($columns, 'x') + ['id' => 2, 'status' => 'new', 'last' => 'z'];
        foreach ([1, 1] as $id) {
            $this->buffer->addOrder($id, $data);
        }
        self::assertNull($this->buffer->find('orders', 2));
        self::assertSame(['id' => 1] + $data, $this->buffer->find('orders', 1));
    }

    public function testAppendedRowsAreNotMerged(): void
    {
        $this->buffer->addTrade(['price' => '1']);
        $this->buffer->addTrade(['price' => '1']);
        self::assertCount(2, $this->buffer);
    }

    public function testCurrenciesAreRowsOfTheirOwn(): void
    {
        $this->buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
        $this->buffer->addBalanceUpdate(1, 'btc', ['balance' => '2']);
        $this->buffer->addBalanceUpdate(1, 'usd', ['balance' => '4']);
        self::assertCount(2, $this->buffer);
        self::assertDecimal('5', $this->buffer->find('balances', ['user_id' => 1, 'currency' => 'usd'])['balance']);
        self::assertDecimal('2', $this->buffer->find('balances', ['user_id' => 1, 'currency' => 'btc'])['balance']);
    }

    public function testColumnsBesideTheDeltasTakeTheLastValue(): void
    {
        $this->buffer->addBalanceUpdate(1, 'usd', ['balance' => '1', 'updated_at' => 10]);
        $this->buffer->addBalanceUpdate(1, 'usd', ['updated_at' => 11]);
        $pending = $this->buffer->find('balances', ['user_id' => 1, 'currency' => 'usd']);
        self::assertSame(11, $pending['updated_at']);
        self::assertDecimal('1', $pending['balance']);
        self::assertArrayNotHasKey('currency', $pending);
    }

    /** @return iterable<string, array{list<int|string>, string}> */
    public static function sums(): iterable
    {
        yield 'what floats get wrong' => [['0.1', '0.2'], '0.3'];
        yield 'ints and strings' => [[1, '0.5', -3], '-1.5'];
        yield 'exponents' => [['1e-8', '1E-8', '+2.5e3', '-1e+1'], '2490.00000002'];
        yield 'a small one' => [['1e-8'], '0.00000001'];
        yield 'the smallest' => [['1e-30', '1e-30'], '0.000000000000000000000000000002'];
        yield 'half written ones' => [['.5', '5.', '-.25', '007'], '12.25'];
        yield 'nothing left' => [['1.50', '-1.5'], '0'];
        yield 'no negative zero' => [['-0', '-0.00'], '0'];
        yield '65 digits' => [[str_repeat('9', 65)], str_repeat('9', 65)];
        yield 'past 65 digits and back' => [
            [str_repeat('9', 65), '1', '-' . str_repeat('9', 65)], '1',
        ];
        yield 'all fraction digits beside all integer digits' => [
            [str_repeat('9', 35), '0.' . str_repeat('9', 30)], str_repeat('9', 35) . '.' . str_repeat('9', 30),
        ];
        yield 'the whole range of ints' => [[PHP_INT_MAX, PHP_INT_MAX, PHP_INT_MIN], '9223372036854775806'];
        yield 'zeros that change nothing' => [['0001.500' . str_repeat('0', 60)], '1.5'];
        yield 'a fraction that doubles lose' => [['320.615600000000000001', '1000000000'], '1000000320.615600000000000001'];
    }

    /**
     * @dataProvider sums
     * @param list<int|string> $deltas
     */
    #[DataProvider('sums')]
    public function testDeltasAreSummedExactly(array $deltas, string $expected): void
    {
        foreach ($deltas as $delta) {
            $this->buffer->add('counters', ['name' => 'x', 'n' => $delta]);
        }
        self::assertCount(1, $this->buffer);
        $sum = $this->buffer->find('counters', 'x')['n'];
        self::assertDecimal($expected, $sum);
        self::assertStringStartsNotWith('-0', rtrim($sum, '.0') === '-' ? '-0' : '1');
    }

    public function testManySmallDeltasAreNotLost(): void
    {
        $expected = '0';
        mt_srand(42);
        for ($i = 0; $i < 20_000; $i++) {
            $delta = (mt_rand(0, 1) ? '-' : '') . mt_rand(0, 999_999) . '.' . str_pad((string) mt_rand(), 18, '0', STR_PAD_LEFT);
            $expected = bcadd($expected, $delta, 18);
            $this->buffer->add('counters', ['name' => 'x', 'n' => $delta, 'm' => '0.000000000000000001']);
        }
        $pending = $this->buffer->find('counters', 'x');
        self::assertDecimal($expected, $pending['n']);
        self::assertDecimal('0.00000000000002', $pending['m']);
        self::assertCount(1, $this->buffer);
    }

    public function testADeletionTakesAllThatWasPendingForTheRow(): void
    {
        $this->buffer->addOrder(1, ['status' => 'new', 'price' => '5']);
        $this->buffer->delete('orders', 1);
        self::assertSame([], $this->buffer->find('orders', 1));
        self::assertCount(1, $this->buffer);
        $this->buffer->addOrder(1, ['status' => 'again']);
        self::assertSame(['id' => 1, 'status' => 'again'], $this->buffer->find('orders', 1));
    }

    public function testADeletionEndsASum(): void
    {
        $this->buffer->add('counters', ['name' => 'x', 'n' => '5']);
        $this->buffer->delete('counters', 'x');
        $this->buffer->add('counters', ['name' => 'x', 'n' => '2']);
        self::assertDecimal('2', $this->buffer->find('counters', 'x')['n']);
    }

    public function testAnOlderVersionChangesNothing(): void
    {
        $this->buffer->add('versioned', ['id' => 1, 'v' => 5, 'state' => 'five']);
        $this->buffer->add('versioned', ['id' => 1, 'v' => 4, 'state' => 'four']);
        self::assertSame(['id' => 1, 'v' => 5, 'state' => 'five'], $this->buffer->find('versioned', 1));
        $this->buffer->add('versioned', ['id' => 1, 'v' => 10, 'state' => 'ten']);
        self::assertSame('ten', $this->buffer->find('versioned', 1)['state']);
        self::assertCount(1, $this->buffer);
    }

    public function testVersionsAreComparedAsNumbersNotAsText(): void
    {
        $this->buffer->add('versioned', ['id' => 1, 'v' => '9', 'state' => 'nine']);
        $this->buffer->add('versioned', ['id' => 1, 'v' => '10', 'state' => 'ten']);
        self::assertSame('ten', $this->buffer->find('versioned', 1)['state']);
        $this->buffer->add('versioned', ['id' => 1, 'v' => 9, 'state' => 'nine']);
        self::assertSame('ten', $this->buffer->find('versioned', 1)['state']);
    }

    public function testRowsOfManyKeysStayApart(): void
    {
        for ($round = 0; $round < 3; $round++) {
            for ($id = 1; $id <= 12_000; $id++) {
                $this->buffer->addOrder($id, ['status' => "s$round-$id"]);
            }
        }
        self::assertSame(36_000, $this->buffer->sequence());
        foreach ([1, 4_999, 5_000, 5_001, 12_000] as $id) {
            self::assertSame(['id' => $id, 'status' => "s2-$id"], $this->buffer->find('orders', $id));
        }
        self::assertNull($this->buffer->find('orders', 12_001));
        $this->buffer->clear();
        self::assertCount(0, $this->buffer);
    }

    public function testMergingNeverReachesIntoABatchThatIsBeingWritten(): void
    {
        parent::setUp();
        Database::createAccount(1, 'usd', '100');
        $buffer = $this->connectedBuffer(['session' => Database::isSqlite() ? [] : ['innodb_lock_wait_timeout' => 1]]);
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
        $lock = Database::blockWrites('spot_usd_accounts');
        self::assertFalse($buffer->flush(300)->isSuccess());
        // The first row is in a frozen batch now.
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '20']);
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '300']);
        self::assertCount(2, $buffer);
        self::assertDecimal('321', $buffer->find('balances', ['user_id' => 1, 'currency' => 'usd'])['balance']);
        $lock->exec('ROLLBACK');
        $result = $buffer->flush(20_000);
        self::assertSucceeded($result);
        self::assertSame(2, $result->getBalancesWritten());
        self::assertDecimal('421', Database::value('SELECT balance FROM spot_usd_accounts WHERE id = 1'));
    }
}
