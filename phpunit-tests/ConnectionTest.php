<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Exception\ConnectionException;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\ServerControl;

/**
 * Databases that are not there, not right, or not there for a while.
 */
final class ConnectionTest extends DatabaseTestCase
{
    /** @return iterable<string, array{callable(): array{string, string}}> */
    public static function badServers(): iterable
    {
        yield 'unreachable host' => [static function (): array {
            $port = self::portThatNobodyListensOn();
            return ["mysql://app:hunter2@127.0.0.1:$port/spot", "127.0.0.1:$port"];
        }];
        yield 'unreachable hosts' => [static function (): array {
            [$a, $b] = [self::portThatNobodyListensOn(), self::portThatNobodyListensOn()];
            return ["mysql://app:hunter2@127.0.0.1:$a,127.0.0.1:$b/spot", "127.0.0.1:$b"];
        }];
        yield 'wrong password' => [static function (): array {
            if (Database::isSqlite()) {
                return ['sqlite:///proc/hunter.db', '/proc/hunter.db'];
            }
            ['host' => $host, 'port' => $port, 'user' => $user, 'database' => $name] = Database::parts();
            return ["mysql://$user:hunter2@$host:$port/$name", "$host:$port"];
        }];
        yield 'unknown database' => [static function (): array {
            if (Database::isSqlite()) {
                return ['sqlite:///no/such/directory/test.db', '/no/such/directory/test.db'];
            }
            ['host' => $host, 'port' => $port, 'user' => $user, 'password' => $password, 'database' => $name] = Database::parts();
            return ["mysql://$user:$password@$host:$port/{$name}_no_such", "$host:$port"];
        }];
    }

    /**
     * @dataProvider badServers
     * @param callable(): array{string, string} $server DSN, and the part of it that a message names
     */
    #[DataProvider('badServers')]
    public function testADatabaseThatCannotBeReachedIsReportedByTheNextAdd(callable $server): void
    {
        [$dsn, $place] = $server();
        $options = ['dsn' => $dsn, 'retry_base_ms' => 1, 'retry_max_ms' => 5, 'connect_timeout_ms' => 2_000];
        $buffer = $this->kept(new WriteBuffer(100, 5, 1, $options));
        $password = (string) (parse_url($dsn)['pass'] ?? 'hunter2');
        $buffer->addOrder(1, self::order());
        $result = $buffer->flush();
        self::assertFalse($result->isSuccess());
        self::assertSame(1, $result->getPending());
        $errors = implode("\n", $result->getErrors());
        self::assertStringContainsString($place, $errors);
        self::assertStringNotContainsString($password, $errors);
        $refused = self::thrown(ConnectionException::class, static fn () => $buffer->addOrder(2, self::order()));
        self::assertStringContainsString($place, $refused->getMessage());
        self::assertStringNotContainsString($password, (string) $refused);
        self::assertStringNotContainsString($password, var_export($buffer->getStats(), true));
        self::assertFalse($buffer->getStats()['connected']);
        self::assertGreaterThan(0, $buffer->getStats()['failures']);
        self::assertNotNull($buffer->find('orders', 1), 'what was accepted stays pending');
        $buffer->clear();
    }

    public function testRowsAreWrittenOnceTheDatabaseComes(): void
    {
        if (!Database::isSqlite()) {
            ['host' => $host, 'port' => $port, 'user' => $user, 'password' => $password, 'database' => $name] = Database::parts();
            $late = "{$name}_late";
            Database::execute("DROP DATABASE IF EXISTS $late");
            $dsn = "mysql://$user:$password@$host:$port/$late";
            $appear = static function () use ($late): void {
                Database::execute("CREATE DATABASE $late");
                Database::execute("CREATE TABLE $late.things (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)");
            };
            $look = static fn (): int => Database::count("$late.things");
            $remove = static fn () => Database::execute("DROP DATABASE $late");
        } else {
            $directory = $this->newDirectory();
            $dsn = "sqlite://$directory/late.db";
            $pdo = null;
            $appear = static function () use ($directory, &$pdo): void {
                mkdir($directory);
                $pdo = new \PDO("sqlite:$directory/late.db");
                $pdo->exec('CREATE TABLE things (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)');
            };
            $look = static function () use (&$pdo): int {
                return (int) $pdo->query('SELECT COUNT(*) FROM things')->fetchColumn();
            };
            $remove = static fn () => null;
        }
        $things = ['things' => ['mode' => 'upsert', 'key' => 'id']];
        $buffer = $this->buffer(['dsn' => $dsn, 'tables' => $things, 'retry_base_ms' => 1]);
        $buffer->add('things', ['id' => 1, 'n' => 1]);
        self::assertFalse($buffer->flush()->isSuccess());
        $appear();
        self::assertSucceeded($buffer->flush(20_000));
        $buffer->add('things', ['id' => 2, 'n' => 1]);
        self::assertSucceeded($buffer->flush(20_000));
        self::assertSame(2, $look());
        $buffer->close();
        $remove();
    }

    public function testAMissingTableIsReportedAndNothingIsLost(): void
    {
        Database::drop('wb_later', 'wb_later_too');
        $tables = ['later' => ['mode' => 'upsert', 'table' => 'wb_later', 'key' => 'id']];
        $buffer = $this->buffer(['tables' => $tables]);
        $buffer->add('later', ['id' => 1, 'n' => 1]);
        $result = $buffer->flush();
        self::assertFalse($result->isSuccess());
        self::assertSame([1, 0], [$result->getPending(), $result->getQuarantined()]);
        self::assertStringContainsString('wb_later', implode("\n", $result->getErrors()));
        $wrong = self::thrown(ConfigurationException::class, static fn () => $buffer->add('later', ['id' => 2, 'n' => 2]));
        self::assertStringContainsString('wb_later', $wrong->getMessage());
        $buffer->addOrder(1, self::order());
        Database::create('wb_later', 'id BIGINT PRIMARY KEY, n BIGINT NOT NULL');
        self::assertSucceeded($buffer->flush(20_000));
        $buffer->add('later', ['id' => 2, 'n' => 2]);
        self::assertSucceeded($buffer->flush());
        self::assertSame([2, 1], [Database::count('wb_later'), Database::count('orders')]);
    }

    public function testAMissingKeyIsReportedAndNothingIsLost(): void
    {
        Database::create('wb_keyless', 'id BIGINT NOT NULL, n BIGINT NOT NULL');
        $tables = ['keyless' => ['mode' => 'upsert', 'table' => 'wb_keyless', 'key' => 'id']];
        $buffer = $this->buffer(['tables' => $tables]);
        $buffer->add('keyless', ['id' => 1, 'n' => 1]);
        $result = $buffer->flush();
        self::assertFalse($result->isSuccess());
        self::assertSame([1, 0], [$result->getPending(), $result->getQuarantined()]);
        self::thrown(ConfigurationException::class, static fn () => $buffer->add('keyless', ['id' => 2, 'n' => 2]));
        Database::execute('CREATE UNIQUE INDEX wb_keyless_id ON wb_keyless (id)');
        self::assertSucceeded($buffer->flush(20_000));
        self::assertSame(1, Database::count('wb_keyless'));
    }

    public function testAMissingKeyColumnIsReportedAndNothingIsLost(): void
    {
        Database::create('wb_renamed', 'number BIGINT PRIMARY KEY, n BIGINT NULL');
        $tables = ['renamed' => ['mode' => 'upsert', 'table' => 'wb_renamed', 'key' => 'id']];
        $buffer = $this->buffer(['tables' => $tables]);
        $buffer->add('renamed', ['id' => 1, 'n' => 1]);
        $result = $buffer->flush();
        self::assertFalse($result->isSuccess());
        self::assertSame([1, 0], [$result->getPending(), $result->getQuarantined()]);
        self::assertStringContainsString('id', implode("\n", $result->getErrors()));
        self::thrown(ConfigurationException::class, static fn () => $buffer->add('renamed', ['id' => 2, 'n' => 2]));
        Database::create('wb_renamed', 'id BIGINT PRIMARY KEY, n BIGINT NULL');
        self::assertSucceeded($buffer->flush(20_000));
        self::assertSame(1, Database::count('wb_renamed'));
    }

    public function testAnUnknownColumnIsQuarantinedAndReportedOnce(): void
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        $buffer->addOrder(2, ['no_such_column' => 1] + self::order());
        $buffer->addOrder(3, self::order());
        $result = $buffer->flush();
        self::assertSame(1, $result->getQuarantined());
        self::assertStringContainsString('no_such_column', implode("\n", $result->getErrors()));
        self::assertSame(2, Database::count('orders'));
        $wrong = self::thrown(ConfigurationException::class, static fn () => $buffer->addOrder(4, self::order()));
        self::assertStringContainsString('no_such_column', $wrong->getMessage());
        $buffer->addOrder(4, self::order());
        self::assertSucceeded($buffer->flush());
        self::assertSame(3, Database::count('orders'));
    }

    public function testAColumnAddedLaterIsFound(): void
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        self::assertSucceeded($buffer->flush());
        Database::execute('ALTER TABLE orders ADD COLUMN fee BIGINT NULL');
        $buffer->addOrder(2, ['fee' => 5] + self::order());
        self::assertSucceeded($buffer->flush());
        self::assertEquals(5, Database::value('SELECT fee FROM orders WHERE id = 2'));
    }

    public function testATableMadeAnewWhileTheBufferIsConnectedIsWritten(): void
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        self::assertSucceeded($buffer->flush());
        Database::createSpotTables();
        $buffer->addOrder(2, self::order());
        self::assertSucceeded($buffer->flush());
        self::assertEquals([2], array_column(Database::rows('SELECT id FROM orders'), 'id'));
    }

    public function testALockedDatabaseIsWaitedFor(): void
    {
        Database::createAccount(1, 'usd', '0');
        $session = Database::isSqlite() ? [] : ['innodb_lock_wait_timeout' => 1];
        $buffer = $this->buffer(['session' => $session, 'retry_base_ms' => 1, 'retry_max_ms' => 10], flushIntervalMs: 10);
        $lock = Database::blockWrites('spot_usd_accounts');
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
        if (!Database::isSqlite()) {
            $this->eventually(static fn (): bool => isset($buffer->getStats()['retries'][1205]), 'a lock wait timeout');
        }
        for ($i = 0; $i < 100; $i++) {
            $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
        }
        $lock->exec('ROLLBACK');
        self::assertSucceeded($buffer->flush(20_000));
        self::assertDecimal('101', Database::value('SELECT balance FROM spot_usd_accounts'));
    }

    public function testAKilledConnectionLosesAndDoublesNothing(): void
    {
        Database::createAccount(1, 'usd', '0');
        $buffer = $this->buffer(['retry_base_ms' => 1, 'retry_max_ms' => 20], 50, 5);
        $killed = 0;
        for ($match = 1; $match <= 2_000; $match++) {
            $buffer->transaction(static function (WriteBuffer $buffer) use ($match): void {
                $buffer->addTrade(self::trade() + ['buy_order_id' => $match]);
                $buffer->addBalanceUpdate(1, 'usd', ['balance' => '0.1']);
            });
            if ($match % 100 === 0) {
                // The writer is connected, and busy with what came since.
                self::assertTrue($buffer->waitFor($match, 20_000), (string) $buffer->getStats()['last_error']);
                $killed += $this->interrupt();
            }
        }
        $result = $buffer->flush(60_000);
        self::assertSame(0, $result->getPending(), implode("\n", $result->getErrors()));
        self::assertSame(0, $result->getQuarantined());
        self::assertSame(2_000, Database::count('order_transactions'));
        self::assertEquals(2_000, Database::value('SELECT COUNT(DISTINCT buy_order_id) FROM order_transactions'));
        self::assertDecimal('200', Database::value('SELECT balance FROM spot_usd_accounts'));
        if (!Database::isSqlite()) {
            self::assertGreaterThan(0, $killed);
            self::assertGreaterThan(0, $buffer->getStats()['reconnects']);
        }
    }

    /** Ends the writers' connections; SQLite, which has none, is locked for a moment. */
    private function interrupt(): int
    {
        if (Database::isSqlite()) {
            Database::blockWrites('orders')->exec('ROLLBACK');
            return 0;
        }
        $killed = 0;
        $connections = 'SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND DB = DATABASE()';
        foreach (array_column(Database::rows($connections), 'ID') as $id) {
            try {
                Database::execute("KILL $id");
                $killed++;
            } catch (\PDOException) {
                // Gone by itself.
            }
        }
        return $killed;
    }

    public function testAServerThatIsAwayForAWhileLosesAndDoublesNothing(): void
    {
        $server = ServerControl::get();
        Database::createAccount(1, 'usd', '0');
        $options = ['retry_base_ms' => 5, 'retry_max_ms' => 100, 'connect_timeout_ms' => 500];
        $buffer = $this->buffer($options, 20, 10);
        $buffer->addTrade(self::trade());
        self::assertSucceeded($buffer->flush());
        $match = 1;
        $during = 0;
        $add = static function (float $seconds) use ($buffer, &$match): int {
            $until = hrtime(true) + $seconds * 1e9;
            for ($added = 0; hrtime(true) < $until; $added++) {
                $match++;
                $buffer->transaction(static function (WriteBuffer $buffer) use ($match): void {
                    $buffer->addTrade(self::trade($match));
                    $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
                });
                usleep(500);
            }
            return $added;
        };
        $add(0.2);
        $server->away(static function () use ($add, &$during): void {
            $during = $add(5);
        });
        $add(0.2);
        $result = $buffer->flush(60_000);
        self::assertSame(0, $result->getPending(), implode("\n", $result->getErrors()));
        self::assertSame(0, $result->getQuarantined());
        self::assertGreaterThan(1_000, $during, 'add kept returning');
        self::assertSame($match, Database::count('order_transactions'));
        self::assertDecimal((string) ($match - 1), Database::value('SELECT balance FROM spot_usd_accounts'));
        self::assertTrue($buffer->getStats()['connected']);
    }

    public function testAServerThatIsKilledLosesAndDoublesNothing(): void
    {
        $server = ServerControl::get();
        Database::createAccount(1, 'usd', '0');
        $buffer = $this->buffer(['retry_base_ms' => 5, 'retry_max_ms' => 100, 'connect_timeout_ms' => 500], 10, 5);
        for ($match = 1; $match <= 300; $match++) {
            $buffer->transaction(static function (WriteBuffer $buffer) use ($match): void {
                $buffer->addTrade(self::trade() + ['buy_order_id' => $match]);
                $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
            });
            usleep(1_000);
            if ($match === 150) {
                $server->crash();
            }
        }
        $result = $buffer->flush(60_000);
        self::assertSame(0, $result->getPending(), implode("\n", $result->getErrors()));
        self::assertSame(300, Database::count('order_transactions'));
        self::assertEquals(300, Database::value('SELECT COUNT(DISTINCT buy_order_id) FROM order_transactions'));
        self::assertDecimal('300', Database::value('SELECT balance FROM spot_usd_accounts'));
    }

    public function testSessionVariablesAreSet(): void
    {
        if (Database::isSqlite()) {
            Database::create('wb_parents', 'id BIGINT PRIMARY KEY');
            Database::create('wb_children', 'id BIGINT PRIMARY KEY, parent BIGINT NOT NULL REFERENCES wb_parents (id)');
            $children = ['children' => ['mode' => 'upsert', 'table' => 'wb_children', 'key' => 'id']];
            $buffer = $this->buffer(['tables' => $children, 'session' => ['foreign_keys' => 1]]);
            $buffer->add('children', ['id' => 1, 'parent' => 404]);
            self::assertSame(1, $buffer->flush()->getQuarantined());
            Database::drop('wb_children', 'wb_parents');
            return;
        }
        Database::create('wb_times', 'id BIGINT PRIMARY KEY, at TIMESTAMP NULL');
        $times = ['times' => ['mode' => 'upsert', 'table' => 'wb_times', 'key' => 'id']];
        $buffer = $this->buffer(['tables' => $times, 'session' => ['time_zone' => '+05:00']]);
        $buffer->add('times', ['id' => 1, 'at' => '2026-05-02 12:00:00']);
        self::assertSucceeded($buffer->flush());
        Database::execute("SET time_zone = '+00:00'");
        self::assertSame('2026-05-02 07:00:00', Database::value('SELECT at FROM wb_times'));
        Database::forget();
    }

    public function testSeveralHostsAreTriedInOrder(): void
    {
        if (Database::isSqlite()) {
            $dsn = Database::dsn();
        } else {
            $port = self::portThatNobodyListensOn();
            $dsn = (string) preg_replace('~@([^/]+)/~', "@127.0.0.1:$port,$1/", Database::dsn());
        }
        $buffer = $this->buffer(['dsn' => $dsn]);
        $buffer->addOrder(1, self::order());
        self::assertSucceeded($buffer->flush(20_000));
        self::assertSame(1, Database::count('orders'));
    }

    private static function portThatNobodyListensOn(): int
    {
        $listener = stream_socket_server('tcp://127.0.0.1:0');
        $port = (int) explode(':', (string) stream_socket_get_name($listener, false))[1];
        fclose($listener);
        return $port;
    }
}
