<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;

/**
 * What each mode of a table does to the database.
 */
final class TableModesTest extends DatabaseTestCase
{
    private const TABLES = [
        'events' => ['mode' => 'insert', 'table' => 'wb_events', 'unique' => ['source', 'number']],
        'log' => ['mode' => 'insert', 'table' => 'wb_log'],
        'people' => ['mode' => 'upsert', 'table' => 'wb_people', 'key' => 'id'],
        'known' => ['mode' => 'update', 'table' => 'wb_people', 'key' => 'id'],
        'known_or_new' => ['mode' => 'update', 'table' => 'wb_people', 'key' => 'id', 'missing' => 'insert'],
        'newest' => ['mode' => 'upsert', 'table' => 'wb_versioned', 'key' => 'id', 'version' => 'v'],
        'newest_known' => ['mode' => 'update', 'table' => 'wb_versioned', 'key' => 'id', 'version' => 'v'],
        'totals' => ['mode' => 'delta', 'table' => 'wb_totals', 'key' => ['day' => 'on_day', 'coin'],
            'delta' => ['volume', 'trades'], 'missing' => 'insert'],
        'volumes' => ['mode' => 'delta', 'table' => 'wb_volume_{coin}', 'key' => 'id', 'delta' => ['n']],
        'precise' => ['mode' => 'delta', 'table' => 'wb_precise', 'key' => 'id', 'delta' => ['n']],
    ];

    protected function setUp(): void
    {
        parent::setUp();
        $auto = Database::isSqlite() ? 'INTEGER PRIMARY KEY AUTOINCREMENT' : 'BIGINT AUTO_INCREMENT PRIMARY KEY';
        $money = Database::money();
        Database::create('wb_events', "id $auto, source VARCHAR(20) NOT NULL, number BIGINT NOT NULL, text VARCHAR(20) NULL,
            UNIQUE (source, number)");
        Database::create('wb_log', "id $auto, text VARCHAR(20) NULL");
        Database::create('wb_people', "id BIGINT PRIMARY KEY, name VARCHAR(20) NOT NULL, email VARCHAR(50) NOT NULL,
            age BIGINT NULL, city VARCHAR(20) NOT NULL DEFAULT 'Bern'");
        Database::create('wb_versioned', 'id BIGINT PRIMARY KEY, v BIGINT NOT NULL, state VARCHAR(20) NULL');
        Database::create('wb_totals', "on_day VARCHAR(10) NOT NULL, coin VARCHAR(10) NOT NULL, volume $money NOT NULL DEFAULT '0',
            trades BIGINT NOT NULL DEFAULT 0, last_price $money NULL, PRIMARY KEY (on_day, coin)");
        foreach (['btc', 'eth'] as $coin) {
            Database::create("wb_volume_$coin", "id BIGINT PRIMARY KEY, n $money NOT NULL DEFAULT '0'");
        }
        Database::create('wb_precise', 'id BIGINT PRIMARY KEY, n ' . Database::money(65, 30) . ' NULL');
    }

    public function testInsertAppendsEveryRowInOrder(): void
    {
        $buffer = $this->buffer(['tables' => self::TABLES]);
        foreach (['a', 'b', 'a'] as $text) {
            $buffer->add('log', ['text' => $text]);
        }
        $result = $buffer->flush();
        self::assertSucceeded($result);
        self::assertSame(3, $result->getTotalWritten());
        self::assertSame(['a', 'b', 'a'], array_column(Database::rows('SELECT text FROM wb_log ORDER BY id'), 'text'));
    }

    public function testRowsOfDifferentColumnsAreAppendedInOrder(): void
    {
        $buffer = $this->buffer(['tables' => self::TABLES]);
        for ($number = 1; $number <= 60; $number++) {
            $row = ['source' => 's', 'number' => $number];
            $buffer->add('events', $number % 3 ? $row + ['text' => "t$number"] : array_reverse($row));
        }
        self::assertSucceeded($buffer->flush());
        $rows = Database::rows('SELECT number, text FROM wb_events ORDER BY number');
        self::assertCount(60, $rows);
        self::assertSame(['t1', 't2', null], array_column(array_slice($rows, 0, 3), 'text'));
    }

    public function testARowThatIsAlreadyThereCountsAsWritten(): void
    {
        Database::execute("INSERT INTO wb_events (source, number, text) VALUES ('s', 1, 'first')");
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('events', ['source' => 's', 'number' => 1, 'text' => 'second']);
        $buffer->add('events', ['source' => 's', 'number' => 2, 'text' => 'new']);
        $result = $buffer->flush();
        self::assertSucceeded($result);
        self::assertSame(2, $result->getTotalWritten());
        self::assertSame(['first', 'new'], array_column(Database::rows('SELECT text FROM wb_events ORDER BY number'), 'text'));
    }

    public function testTheSameUniqueKeyTwiceInOneBatchIsOneRow(): void
    {
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('events', ['source' => 's', 'number' => 1, 'text' => 'first']);
        $buffer->add('events', ['source' => 's', 'number' => 1, 'text' => 'second']);
        self::assertSucceeded($buffer->flush());
        self::assertSame('first', Database::value('SELECT text FROM wb_events'));
        self::assertSame(1, Database::count('wb_events'));
    }

    public function testUniqueForgivesNoOtherConstraint(): void
    {
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('events', ['source' => 's', 'number' => 1, 'text' => 'a', 'id' => 5]);
        $buffer->add('events', ['source' => 's', 'number' => 2, 'text' => 'b', 'id' => 5]);
        $result = $buffer->flush();
        self::assertFalse($result->isSuccess());
        self::assertSame(1, $result->getQuarantined());
        self::assertSame(1, Database::count('wb_events'));
    }

    public function testUpsertInsertsAFullRow(): void
    {
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('people', ['id' => 1, 'name' => 'Ada', 'email' => 'a@x', 'age' => 36]);
        self::assertSucceeded($buffer->flush());
        self::assertEquals(
            ['id' => 1, 'name' => 'Ada', 'email' => 'a@x', 'age' => 36, 'city' => 'Bern'],
            Database::rows('SELECT * FROM wb_people')[0]
        );
    }

    public function testUpsertOfAFewColumnsChangesOnlyThose(): void
    {
        Database::execute("INSERT INTO wb_people VALUES (1, 'Ada', 'a@x', 36, 'Rome')");
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('people', ['id' => 1, 'age' => 37]);
        $result = $buffer->flush();
        self::assertSucceeded($result);
        self::assertSame(1, $result->getTotalWritten());
        self::assertEquals(
            [['id' => 1, 'name' => 'Ada', 'email' => 'a@x', 'age' => 37, 'city' => 'Rome']],
            Database::rows('SELECT * FROM wb_people')
        );
    }

    public function testUpsertsOfDifferentColumnsGoInOneBatch(): void
    {
        Database::execute("INSERT INTO wb_people VALUES (1, 'Ada', 'a@x', 36, 'Rome'), (2, 'Bob', 'b@x', 20, 'Oslo')");
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('people', ['id' => 2, 'city' => 'Paris']);
        $buffer->add('people', ['id' => 3, 'name' => 'Cid', 'email' => 'c@x']);
        $buffer->add('people', ['id' => 1, 'age' => null]);
        self::assertSucceeded($buffer->flush());
        self::assertEquals([
            ['id' => 1, 'name' => 'Ada', 'email' => 'a@x', 'age' => null, 'city' => 'Rome'],
            ['id' => 2, 'name' => 'Bob', 'email' => 'b@x', 'age' => 20, 'city' => 'Paris'],
            ['id' => 3, 'name' => 'Cid', 'email' => 'c@x', 'age' => null, 'city' => 'Bern'],
        ], Database::rows('SELECT * FROM wb_people ORDER BY id'));
    }

    public function testAPartialUpsertOfARowThatIsNotThereIsRefused(): void
    {
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('people', ['id' => 9, 'age' => 37]);
        $result = $buffer->flush();
        self::assertSame(1, $result->getQuarantined());
        self::assertSame(0, Database::count('wb_people'));
    }

    public function testUpsertOfNothingButTheKeyOfARowThatIsThere(): void
    {
        Database::execute("INSERT INTO wb_versioned VALUES (1, 5, 'five')");
        Database::execute("INSERT INTO wb_people VALUES (1, 'Ada', 'a@x', 36, 'Rome')");
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('people', ['id' => 1]);
        self::assertSucceeded($buffer->flush());
        self::assertSame('Ada', Database::value('SELECT name FROM wb_people'));
    }

    public function testUpdateChangesARowThatIsThere(): void
    {
        Database::execute("INSERT INTO wb_people VALUES (1, 'Ada', 'a@x', 36, 'Rome')");
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('known', ['id' => 1, 'age' => 37]);
        self::assertSucceeded($buffer->flush());
        self::assertEquals(37, Database::value('SELECT age FROM wb_people'));
        // The same value again: no row is changed, and none is missing.
        $buffer->add('known', ['id' => 1, 'age' => 37]);
        self::assertSucceeded($buffer->flush());
    }

    public function testUpdateOfARowThatIsNotThereIsRefused(): void
    {
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('known', ['id' => 1, 'name' => 'Ada', 'email' => 'a@x']);
        $result = $buffer->flush();
        self::assertFalse($result->isSuccess());
        self::assertSame(1, $result->getQuarantined());
        self::assertSame(0, Database::count('wb_people'));
        self::assertMatchesRegularExpression('/known|wb_people/', implode("\n", $result->getErrors()));
    }

    public function testUpdateInsertsARowThatIsNotThereWhenItMay(): void
    {
        Database::execute("INSERT INTO wb_people VALUES (1, 'Ada', 'a@x', 36, 'Rome')");
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('known_or_new', ['id' => 1, 'age' => 37]);
        $buffer->add('known_or_new', ['id' => 2, 'name' => 'Bob', 'email' => 'b@x']);
        self::assertSucceeded($buffer->flush());
        self::assertSame(['Ada', 'Bob'], array_column(Database::rows('SELECT name FROM wb_people ORDER BY id'), 'name'));
    }

    public function testDeltaAddsToWhatIsThere(): void
    {
        Database::createAccount(1, 'usd', '100.000000000000000001');
        $buffer = $this->buffer();
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '-0.1', 'available_balance' => '320.615600000000000001']);
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '-0.2', 'updated_at' => 17]);
        $result = $buffer->flush();
        self::assertSucceeded($result);
        self::assertSame(1, $result->getBalancesWritten());
        $row = Database::rows('SELECT * FROM spot_usd_accounts')[0];
        self::assertDecimal('99.700000000000000001', $row['balance']);
        self::assertDecimal('420.615600000000000002', $row['available_balance']);
        self::assertDecimal('0', $row['usd_amount']);
        self::assertEquals(17, $row['updated_at']);
    }

    public function testDeltasAreAddedBatchByBatchExactly(): void
    {
        Database::createAccount(1, 'usd', '0.1');
        $buffer = $this->buffer();
        for ($i = 0; $i < 25; $i++) {
            $buffer->addBalanceUpdate(1, 'usd', ['balance' => '0.000000000000000001', 'usd_amount' => '-1e-8']);
            self::assertSucceeded($buffer->flush());
        }
        self::assertDecimal('0.100000000000000025', Database::value('SELECT balance FROM spot_usd_accounts'));
        self::assertDecimal('-0.00000025', Database::value('SELECT usd_amount FROM spot_usd_accounts'));
    }

    public function testTheWholePrecisionOfADecimalIsKept(): void
    {
        Database::execute("INSERT INTO wb_precise VALUES (1, '0')");
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $large = str_repeat('9', 35) . '.' . str_repeat('9', 29) . '8';
        $buffer->add('precise', ['id' => 1, 'n' => $large]);
        self::assertSucceeded($buffer->flush());
        $buffer->add('precise', ['id' => 1, 'n' => '1e-30']);
        self::assertSucceeded($buffer->flush());
        self::assertDecimal(str_repeat('9', 35) . '.' . str_repeat('9', 30), Database::value('SELECT n FROM wb_precise'));
    }

    public function testADeltaOfARowThatIsNotThereIsRefused(): void
    {
        $buffer = $this->buffer();
        $buffer->addBalanceUpdate(404, 'usd', ['balance' => '1']);
        $result = $buffer->flush();
        self::assertSame(1, $result->getQuarantined());
        self::assertStringContainsString('404', implode("\n", $result->getErrors()));
        self::assertSame(0, Database::count('spot_usd_accounts'));
    }

    public function testADeltaInsertsARowThatIsNotThereWhenItMay(): void
    {
        $buffer = $this->buffer(['tables' => self::TABLES]);
        for ($round = 1; $round <= 2; $round++) {
            $buffer->add('totals', ['day' => '2026-05-02', 'coin' => 'btc', 'volume' => '1.5', 'trades' => 1, 'last_price' => '7']);
            $buffer->add('totals', ['day' => '2026-05-02', 'coin' => 'eth', 'volume' => '0.1', 'trades' => 2]);
            self::assertSucceeded($buffer->flush());
        }
        $rows = Database::rows('SELECT * FROM wb_totals ORDER BY coin');
        self::assertCount(2, $rows);
        self::assertDecimal('3', $rows[0]['volume']);
        self::assertEquals(2, $rows[0]['trades']);
        self::assertDecimal('7', (string) $rows[0]['last_price']);
        self::assertDecimal('0.2', $rows[1]['volume']);
        self::assertEquals(4, $rows[1]['trades']);
    }

    public function testADeltaOfZeroChangesNothingAndIsNoError(): void
    {
        Database::createAccount(1, 'usd', '5');
        $buffer = $this->buffer();
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1.5']);
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '-1.5']);
        self::assertSucceeded($buffer->flush());
        self::assertDecimal('5', Database::value('SELECT balance FROM spot_usd_accounts'));
    }

    public function testAnOlderVersionNeverOverwritesANewerOneInTheDatabase(): void
    {
        Database::execute("INSERT INTO wb_versioned VALUES (1, 5, 'five'), (2, 5, 'five')");
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('newest', ['id' => 1, 'v' => 4, 'state' => 'four']);
        $buffer->add('newest_known', ['id' => 2, 'v' => 4, 'state' => 'four']);
        $buffer->add('newest', ['id' => 3, 'v' => 1, 'state' => 'new']);
        self::assertSucceeded($buffer->flush());
        $states = 'SELECT state FROM wb_versioned ORDER BY id';
        self::assertSame(['five', 'five', 'new'], array_column(Database::rows($states), 'state'));
        $buffer->add('newest', ['id' => 1, 'v' => 6, 'state' => 'six']);
        $buffer->add('newest_known', ['id' => 2, 'v' => 6, 'state' => 'six']);
        self::assertSucceeded($buffer->flush());
        self::assertSame(['six', 'six', 'new'], array_column(Database::rows($states), 'state'));
        self::assertSame([6, 6, 1], array_map('intval', array_column(Database::rows('SELECT v FROM wb_versioned ORDER BY id'), 'v')));
    }

    public function testAVersionedRowIsInsertedAndReplayedWithoutHarm(): void
    {
        foreach ([1, 2] as $writer) {
            $buffer = $this->buffer(['tables' => self::TABLES]);
            foreach ([3 => 'three', 1 => 'one', 2 => 'two'] as $version => $state) {
                $buffer->add('newest', ['id' => 1, 'v' => $version, 'state' => $state]);
                self::assertSucceeded($buffer->flush());
            }
            self::assertSame('three', Database::value('SELECT state FROM wb_versioned'), "writer $writer");
        }
    }

    public function testDeleteRemovesARow(): void
    {
        Database::createOrder(1);
        Database::createOrder(2);
        $buffer = $this->buffer();
        $buffer->delete('orders', 1);
        $result = $buffer->flush();
        self::assertSucceeded($result);
        self::assertEquals([2], array_column(Database::rows('SELECT id FROM orders'), 'id'));
        // Nothing there to delete is what was wanted.
        $buffer->delete('orders', 1);
        self::assertSucceeded($buffer->flush());
    }

    public function testDeleteAndAddInOneBatchKeepTheirOrder(): void
    {
        Database::createOrder(1, '5');
        Database::createOrder(2, '5');
        $buffer = $this->buffer();
        $buffer->addOrder(1, ['status' => 'executed']);
        $buffer->delete('orders', 1);
        $buffer->delete('orders', 2);
        $buffer->addOrder(2, self::order('again', '7'));
        $buffer->addOrder(3, self::order());
        $buffer->delete('orders', 3);
        self::assertSucceeded($buffer->flush());
        $rows = Database::rows('SELECT id, status, executed_quantity FROM orders');
        self::assertCount(1, $rows);
        self::assertEquals([2, 'again'], [$rows[0]['id'], $rows[0]['status']]);
    }

    public function testDeleteByACompositeKeyAndByATemplate(): void
    {
        Database::execute("INSERT INTO wb_totals (on_day, coin) VALUES ('d1', 'btc'), ('d1', 'eth'), ('d2', 'btc')");
        Database::execute("INSERT INTO wb_volume_btc (id) VALUES (1)");
        Database::execute("INSERT INTO wb_volume_eth (id) VALUES (1)");
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->delete('totals', ['coin' => 'btc', 'day' => 'd1']);
        $buffer->delete('volumes', ['coin' => 'eth', 'id' => 1]);
        self::assertSucceeded($buffer->flush());
        self::assertSame(
            ['btcd2', 'ethd1'],
            array_map('implode', Database::rows('SELECT coin, on_day FROM wb_totals ORDER BY coin'))
        );
        self::assertSame([1, 0], [Database::count('wb_volume_btc'), Database::count('wb_volume_eth')]);
    }

    public function testAnAppendedRowIsDeletedByItsUniqueKey(): void
    {
        $buffer = $this->buffer(['tables' => self::TABLES]);
        foreach ([1, 2, 3] as $number) {
            $buffer->add('events', ['source' => 's', 'number' => $number]);
        }
        $buffer->delete('events', ['source' => 's', 'number' => 1]);
        self::assertSucceeded($buffer->flush());
        $buffer->delete('events', ['source' => 's', 'number' => 2]);
        self::assertSucceeded($buffer->flush());
        self::assertEquals([3], array_column(Database::rows('SELECT number FROM wb_events'), 'number'));
    }

    public function testATemplateIsFilledFromTheRow(): void
    {
        Database::execute("INSERT INTO wb_volume_btc (id) VALUES (1)");
        Database::execute("INSERT INTO wb_volume_eth (id) VALUES (1)");
        $buffer = $this->buffer(['tables' => self::TABLES]);
        $buffer->add('volumes', ['id' => 1, 'coin' => 'btc', 'n' => '1.5']);
        $buffer->add('volumes', ['id' => 1, 'coin' => 'eth', 'n' => '2.5']);
        self::assertSucceeded($buffer->flush());
        self::assertDecimal('1.5', Database::value('SELECT n FROM wb_volume_btc'));
        self::assertDecimal('2.5', Database::value('SELECT n FROM wb_volume_eth'));
    }

    public function testADeclarationCanExtendAPredeclaredTable(): void
    {
        $buffer = $this->buffer(['tables' => ['trades' => ['unique' => 'match_id']]]);
        foreach ([1, 2, 1] as $match) {
            $buffer->addTrade(self::trade($match));
        }
        self::assertSucceeded($buffer->flush());
        $buffer->addTrade(self::trade(2));
        self::assertSucceeded($buffer->flush());
        self::assertSame(2, Database::count('order_transactions'));
    }

    public function testLargeBatchesAreWrittenWhole(): void
    {
        $buffer = $this->buffer(['tables' => self::TABLES]);
        for ($id = 1; $id <= 12_000; $id++) {
            $buffer->addOrder($id, self::order("s$id"));
            $buffer->addTrade(self::trade($id));
        }
        $result = $buffer->flush(60_000);
        self::assertSucceeded($result);
        self::assertSame([12_000, 12_000], [$result->getOrdersWritten(), $result->getTradesWritten()]);
        self::assertSame([12_000, 12_000], [Database::count('orders'), Database::count('order_transactions')]);
        self::assertSame('s12000', Database::value('SELECT status FROM orders WHERE id = 12000'));
        for ($id = 1; $id <= 12_000; $id++) {
            $buffer->addOrder($id, ['status' => 'executed']);
        }
        self::assertSucceeded($buffer->flush(60_000));
        self::assertEquals(12_000, Database::value("SELECT COUNT(*) FROM orders WHERE status = 'executed'"));
    }
}
