<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use WriteBuffer;
use WriteBuffer\Tests\Support\CommitProxy;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * What the PHP buffer got wrong, fault by fault. (The ninth is about its benchmark.)
 */
final class OriginFaultsTest extends DatabaseTestCase
{
    /** Pending rows were put back with array_merge: orders 5001 and 5002 became 0 and 1. */
    public function testFault1AFailedFlushKeepsTheOrdersIds(): void
    {
        Database::createOrder(1);
        Database::execute('ALTER TABLE orders RENAME TO orders_away');
        $buffer = $this->buffer();
        try {
            $buffer->addOrder(5001, self::order('executing'));
            $buffer->addOrder(5002, self::order('executed'));
            self::assertFalse($buffer->flush()->isSuccess());
            self::assertSame('executing', $buffer->find('orders', 5001)['status']);
            self::assertNull($buffer->find('orders', 0));
            self::assertNull($buffer->find('orders', 1));
        } finally {
            Database::execute('ALTER TABLE orders_away RENAME TO orders');
        }
        self::assertSucceeded($buffer->flush(20_000));
        self::assertEquals(
            ['1new', '5001executing', '5002executed'],
            array_map('implode', Database::rows('SELECT id, status FROM orders ORDER BY id'))
        );
    }

    /** A partial upsert failed in strict mode although the row exists. */
    public function testFault2APartialUpsertOfARowThatExistsIsAnUpdate(): void
    {
        Database::createOrder(1, '5');
        $buffer = $this->buffer();
        $buffer->addOrder(1, ['status' => 'executed', 'executed_quantity' => '5']);
        $result = $buffer->flush();
        self::assertSucceeded($result);
        $rows = Database::rows('SELECT * FROM orders');
        self::assertCount(1, $rows);
        self::assertEquals(['executed', 7], [$rows[0]['status'], $rows[0]['user_id']]);
        self::assertDecimal('5', $rows[0]['quantity']);
    }

    /** … and wrote a ghost row in loose mode. */
    public function testFault2APartialUpsertWritesNoGhostRow(): void
    {
        $sessions = Database::isSqlite() ? [[]] : [['sql_mode' => 'STRICT_TRANS_TABLES'], ['sql_mode' => '']];
        foreach ($sessions as $session) {
            $buffer = $this->buffer(['session' => $session]);
            $buffer->addOrder(77, ['status' => 'executed']);
            $result = $buffer->flush();
            self::assertSame([], Database::rows('SELECT * FROM orders'), json_encode($session));
            self::assertSame(1, $result->getQuarantined(), json_encode($session));
        }
    }

    /** An error other than a deadlock while retrying lost the batch. */
    public function testFault3NoErrorWhileRetryingLosesTheBatch(): void
    {
        $buffer = $this->buffer();
        for ($id = 1; $id <= 50; $id++) {
            $buffer->addOrder($id, self::order());
        }
        Database::drop('orders');
        self::assertFalse($buffer->flush(5_000)->isSuccess(), 'no table');
        // It is there, but without the declared key, and then with it.
        $money = Database::money();
        $columns = "user_id BIGINT NOT NULL, status VARCHAR(20) NOT NULL, quantity $money NOT NULL";
        Database::create('orders', "id BIGINT NOT NULL, $columns");
        self::assertFalse($buffer->flush(5_000)->isSuccess(), 'no key');
        self::assertSame(0, Database::count('orders'));
        self::assertCount(50, $buffer);
        $lock = Database::blockWrites('orders');
        self::assertFalse($buffer->flush(500)->isSuccess(), 'locked');
        $lock->exec('ROLLBACK');
        Database::create('orders', "id BIGINT NOT NULL PRIMARY KEY, $columns");
        $result = $buffer->flush(20_000);
        self::assertSucceeded($result);
        self::assertSame(50, $result->getOrdersWritten());
        self::assertSame(50, Database::count('orders'));
    }

    /** A connection lost during COMMIT applied deltas and trades twice. */
    public function testFault4AConnectionLostDuringCommitAppliesNothingTwice(): void
    {
        Database::createAccount(1, 'usd', '100');
        if (Database::isSqlite()) {
            $this->commitThatFailsInSqlite();
            return;
        }
        $proxy = CommitProxy::start();
        $buffer = $this->buffer(['dsn' => $proxy->dsn(), 'retry_base_ms' => 1]);
        // Odd cuts come after the server has the COMMIT, even ones before.
        for ($match = 1; $match <= 10; $match++) {
            $buffer->transaction(static function (WriteBuffer $buffer) use ($match): void {
                $buffer->addTrade(self::trade() + ['buy_order_id' => $match]);
                $buffer->addBalanceUpdate(1, 'usd', ['balance' => '-1.1']);
            });
            self::assertTrue($buffer->waitFor(2 * $match, 20_000), (string) $buffer->getStats()['last_error']);
        }
        self::assertGreaterThanOrEqual(8, $proxy->cuts(), 'the proxy cut connections at COMMIT');
        self::assertSame(
            range(1, 10),
            array_map('intval', array_column(Database::rows('SELECT buy_order_id FROM order_transactions ORDER BY id'), 'buy_order_id'))
        );
        self::assertDecimal('89', Database::value('SELECT balance FROM spot_usd_accounts'));
        self::assertSame(20, $buffer->flush()->getTotalWritten());
    }

    private function commitThatFailsInSqlite(): void
    {
        $buffer = $this->buffer();
        for ($match = 1; $match <= 5; $match++) {
            $buffer->transaction(static function (WriteBuffer $buffer) use ($match): void {
                $buffer->addTrade(self::trade() + ['buy_order_id' => $match]);
                $buffer->addBalanceUpdate(1, 'usd', ['balance' => '-1.1']);
            });
            // A reader keeps a COMMIT from ending, where there is no write-ahead log.
            $reader = Database::connect();
            $reader->exec('BEGIN');
            $reader->query('SELECT COUNT(*) FROM orders')->fetchAll();
            $buffer->flush(300);
            $reader->exec('COMMIT');
            self::assertTrue($buffer->waitFor(2 * $match, 20_000));
        }
        self::assertSame(5, Database::count('order_transactions'));
        self::assertDecimal('94.5', Database::value('SELECT balance FROM spot_usd_accounts'));
    }

    /** Balance updates matched no row without anyone noticing. */
    public function testFault5ABalanceUpdateThatMatchesNoRowIsNoticed(): void
    {
        $buffer = $this->buffer();
        $buffer->addBalanceUpdate(404, 'usd', ['balance' => '5']);
        $result = $buffer->flush();
        self::assertFalse($result->isSuccess());
        self::assertSame(1, $result->getQuarantined());
        self::assertSame(0, $result->getBalancesWritten());
    }

    /** … and were not sorted, so that two workers deadlocked. */
    public function testFault5TwoWorkersDoNotDeadlock(): void
    {
        $users = range(1, 40);
        foreach ($users as $user) {
            Database::createAccount($user, 'usd');
            Database::createAccount($user, 'btc');
        }
        $work = <<<'PHP'
            $buffer = new WriteBuffer(1_000_000, 86_400_000, 3, $options);
            for ($round = 0; $round < 30; $round++) {
                $users = range(1, 40);
                $argv[1] === 'up' ? sort($users) : rsort($users);
                foreach ($users as $user) {
                    foreach ($argv[1] === 'up' ? ['usd', 'btc'] : ['btc', 'usd'] as $currency) {
                        $buffer->addBalanceUpdate($user, $currency, ['balance' => '0.1']);
                    }
                }
                $result = $buffer->flush(20_000);
                if (!$result->isSuccess()) { echo implode("\n", $result->getErrors()); exit(1); }
            }
            echo $buffer->getStats()['deadlocks'];
            PHP;
        $workers = [
            Subprocess::start(str_replace('$argv[1]', "'up'", $work)),
            Subprocess::start(str_replace('$argv[1]', "'down'", $work)),
        ];
        foreach ($workers as $worker) {
            self::assertSame('0', $worker->wait(60)->stdout(), $worker->output());
        }
        foreach (['usd', 'btc'] as $currency) {
            foreach (Database::rows("SELECT balance FROM spot_{$currency}_accounts") as $row) {
                self::assertDecimal('6', $row['balance']);
            }
        }
    }

    /** The matcher re-read orders while their fills were still buffered, and overfilled. */
    public function testFault6AMatcherSeesItsBufferedFills(): void
    {
        Database::createOrder(1, '10');
        $buffer = $this->buffer();
        $remaining = static function () use ($buffer): string {
            $row = ($buffer->find('orders', 1) ?? []) + Database::rows('SELECT * FROM orders WHERE id = 1')[0];
            return bcsub($row['quantity'], $row['executed_quantity'], 18);
        };
        $filled = 0;
        for ($match = 1; $match <= 8; $match++) {
            $quantity = bccomp($remaining(), '3', 18) < 0 ? $remaining() : '3';
            if (bccomp($quantity, '0', 18) === 0) {
                break;
            }
            $executed = bcadd(bcsub('10', $remaining(), 18), $quantity, 18);
            $buffer->transaction(static function (WriteBuffer $buffer) use ($match, $quantity, $executed): void {
                $buffer->addTrade(self::trade($match, '5', $quantity));
                $buffer->addOrder(1, ['executed_quantity' => $executed]);
            });
            $filled++;
            $match % 2 || $buffer->flush();
        }
        self::assertSame(4, $filled);
        self::assertSucceeded($buffer->flush());
        $trades = array_column(Database::rows('SELECT quantity FROM order_transactions'), 'quantity');
        self::assertDecimal('10', array_reduce($trades, static fn (string $sum, string $q): string => bcadd($sum, $q, 18), '0'));
        self::assertDecimal('10', Database::value('SELECT executed_quantity FROM orders'));
    }

    /** Flushing ran inside the caller's open transaction, which could be rolled back. */
    public function testFault7TheCallersTransactionIsNotTheBuffers(): void
    {
        Database::create('wb_caller', 'id BIGINT PRIMARY KEY');
        $buffer = $this->buffer();
        $caller = Database::connect();
        $caller->beginTransaction();
        $buffer->addOrder(1, self::order());
        if (Database::isSqlite()) {
            // One writer at a time: the buffer waits for the caller, and keeps its rows.
            $caller->exec('INSERT INTO wb_caller VALUES (1)');
            self::assertFalse($buffer->flush(200)->isSuccess());
            $caller->rollBack();
            self::assertSucceeded($buffer->flush(20_000));
        } else {
            $caller->exec('INSERT INTO wb_caller VALUES (1)');
            $buffer->addOrder(2, ['user_id' => null] + self::order());
            self::assertSame(1, $buffer->flush()->getQuarantined());
            self::assertTrue($caller->inTransaction());
            self::assertSame(1, (int) $caller->query('SELECT COUNT(*) FROM wb_caller')->fetchColumn());
            $caller->rollBack();
        }
        self::assertSame(0, Database::count('wb_caller'));
        self::assertSame(1, Database::count('orders'));
    }

    /** bcadd(…, 18) truncated, and threw on 1e-8. */
    public function testFault8AmountsAreNeitherCutNorRefused(): void
    {
        Database::create('wb_fine', 'id BIGINT PRIMARY KEY, n ' . Database::money(65, 30) . ' NOT NULL');
        Database::execute("INSERT INTO wb_fine VALUES (1, '1')");
        $fine = ['fine' => ['mode' => 'delta', 'table' => 'wb_fine', 'key' => 'id', 'delta' => ['n']]];
        $buffer = $this->buffer(['tables' => $fine]);
        foreach (['1e-8', '1E-8', '0.0000000000000000000000000004', '-0.0000000000000000000000000001'] as $delta) {
            $buffer->add('fine', ['id' => 1, 'n' => $delta]);
        }
        self::assertSucceeded($buffer->flush());
        self::assertDecimal('1.0000000200000000000000000003', Database::value('SELECT n FROM wb_fine'));
    }

    /** Absolute values with a monotonic version survive a replay. */
    public function testFault10AReplayOfVersionedRowsChangesNothing(): void
    {
        Database::create('wb_accounts', 'id BIGINT PRIMARY KEY, operation_id BIGINT NOT NULL, balance ' . Database::money());
        $accounts = ['accounts' => ['mode' => 'upsert', 'table' => 'wb_accounts', 'key' => 'id', 'version' => 'operation_id']];
        foreach ([[1, 2, 3], [1, 2, 3], [2, 1], [3]] as $replay) {
            $buffer = $this->buffer(['tables' => $accounts]);
            foreach ($replay as $operation) {
                $buffer->add('accounts', ['id' => 1, 'operation_id' => $operation, 'balance' => "$operation.5"]);
                $operation % 2 || $buffer->flush();
            }
            self::assertSucceeded($buffer->flush());
        }
        self::assertEquals(3, Database::value('SELECT operation_id FROM wb_accounts'));
        self::assertDecimal('3.5', Database::value('SELECT balance FROM wb_accounts'));
    }

    /** … and deltas apply once, because the checkpoint moves with them. */
    public function testFault10TheCheckpointMovesWithTheRows(): void
    {
        Database::createAccount(1, 'usd');
        $buffer = $this->buffer();
        for ($i = 1; $i <= 3; $i++) {
            $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
            self::assertSucceeded($buffer->flush());
            $rows = Database::rows('SELECT * FROM write_buffer_checkpoints');
            self::assertContains($i, array_map('intval', array_merge(...array_map('array_values', array_map(
                static fn (array $row): array => array_filter($row, 'is_numeric'),
                $rows
            )))));
        }
    }
}
