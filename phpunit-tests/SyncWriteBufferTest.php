<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use ReflectionClass;
use ReflectionMethod;
use WriteBuffer;
use WriteBuffer\Exception\ClosedException;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Exception\InvalidRowException;
use WriteBuffer\Exception\TransactionException;
use WriteBuffer\FlushResult;
use WriteBuffer\Sync\Declarations;
use WriteBuffer\SyncWriteBuffer;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\Signature;
use WriteBuffer\Tests\Support\Status;
use WriteBuffer\Tests\Support\Subprocess;
use WriteBuffer\WriteBufferInterface;

/**
 * The buffer that writes at once, through the application's connection.
 */
final class SyncWriteBufferTest extends DatabaseTestCase
{
    public function testAnOrderIsInsertedAndThenUpdated(): void
    {
        $buffer = new SyncWriteBuffer(Database::pdo());
        $buffer->addOrder(1, self::order());
        $buffer->addOrder(1, ['status' => Status::Executed, 'id' => 2]);
        $buffer->addOrder(1, ['status' => 'executed']);
        $rows = Database::rows('SELECT * FROM orders');
        self::assertCount(1, $rows);
        self::assertEquals([1, 'executed', 7], [$rows[0]['id'], $rows[0]['status'], $rows[0]['user_id']]);
        $result = $buffer->flush();
        self::assertSame([3, true], [$result->getOrdersWritten(), $result->isSuccess()]);
        self::assertSame(0, $buffer->flush()->getTotalWritten());
        self::assertSame(3, $buffer->getStats()['totals']['orders_written']);
    }

    public function testAPartialOrderThatIsNotThereIsThrownToTheCaller(): void
    {
        $buffer = new SyncWriteBuffer(Database::pdo());
        self::thrown(\PDOException::class, static fn () => $buffer->addOrder(9, ['status' => 'executed']));
        self::assertSame(0, Database::count('orders'));
        self::assertSame(0, $buffer->flush()->getTotalWritten());
    }

    public function testTradesAreAppended(): void
    {
        $buffer = new SyncWriteBuffer(Database::pdo());
        $buffer->addTrade(self::trade(1));
        $buffer->addTrade(self::trade(2));
        self::assertSame(2, Database::count('order_transactions'));
        self::assertSame(2, $buffer->flush()->getTradesWritten());
    }

    public function testAmountsAreAddedExactly(): void
    {
        Database::createAccount(1, 'usd', '100.000000000000000001');
        $buffer = new SyncWriteBuffer(Database::pdo());
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '-0.1', 'available_balance' => '320.615600000000000001', 'updated_at' => 5]);
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1e-8', 'usd_amount' => -3]);
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '0']);
        $row = Database::rows('SELECT * FROM spot_usd_accounts')[0];
        self::assertDecimal('99.900000010000000001', $row['balance']);
        self::assertDecimal('420.615600000000000002', $row['available_balance']);
        self::assertDecimal('-3', $row['usd_amount']);
        self::assertEquals(5, $row['updated_at']);
        self::assertSame(3, $buffer->flush()->getBalancesWritten());
    }

    public function testItWritesInsideTheApplicationsTransaction(): void
    {
        Database::createAccount(1, 'usd', '5');
        $buffer = new SyncWriteBuffer(Database::pdo());
        Database::pdo()->beginTransaction();
        $buffer->addOrder(1, self::order());
        $buffer->addTrade(self::trade(1));
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
        self::assertSame(1, Database::count('orders'));
        Database::pdo()->rollBack();
        self::assertSame([0, 0], [Database::count('orders'), Database::count('order_transactions')]);
        self::assertDecimal('5', Database::value('SELECT balance FROM spot_usd_accounts'));
    }

    public function testEveryModeWritesWhatTheNativeBufferWrites(): void
    {
        $tables = [
            'logs' => ['mode' => 'insert', 'table' => 'wb_logs', 'unique' => 'ref'],
            'users' => ['mode' => 'update', 'table' => 'wb_users', 'key' => ['a', 'b']],
            'states' => ['mode' => 'upsert', 'table' => 'wb_states', 'key' => 'id', 'version' => 'v'],
            'sums' => ['mode' => 'delta', 'table' => 'wb_sums', 'key' => ['user' => 'id'], 'delta' => 'n', 'missing' => 'insert'],
        ];
        $run = static function (WriteBuffer|SyncWriteBuffer $buffer): array {
            Database::create('wb_logs', 'ref VARCHAR(20) UNIQUE, n INT');
            Database::create('wb_users', "a INT NOT NULL, b VARCHAR(10) NOT NULL, name VARCHAR(10), PRIMARY KEY (a, b)");
            Database::create('wb_states', 'id INT PRIMARY KEY, v INT, name VARCHAR(10)');
            Database::create('wb_sums', 'id INT PRIMARY KEY, n ' . Database::money() . ' NOT NULL, note VARCHAR(10)');
            Database::execute("INSERT INTO wb_users VALUES (1, 'x', 'old')");
            $buffer->add('logs', ['ref' => 'r1', 'n' => 1]);
            $buffer->add('logs', ['ref' => 'r1', 'n' => 2]);
            $buffer->add('logs', ['ref' => 'r2', 'n' => 3]);
            $buffer->transaction(static function (WriteBuffer|SyncWriteBuffer $group): void {
                $group->add('users', ['a' => 1, 'b' => 'x', 'name' => 'new']);
                $group->add('states', ['id' => 1, 'v' => 5, 'name' => 'five']);
            });
            $buffer->flush();
            $buffer->add('states', ['id' => 1, 'v' => 5, 'name' => 'again']);
            $buffer->flush();
            $buffer->add('states', ['id' => 1, 'v' => 4, 'name' => 'four']);
            $buffer->add('states', ['id' => 2, 'v' => 1, 'name' => 'gone']);
            $buffer->delete('states', 2);
            $buffer->add('sums', ['user' => 7, 'n' => '0.1', 'note' => 'a']);
            $buffer->add('sums', ['user' => 7, 'n' => '0.2', 'note' => 'b']);
            $buffer->flush();
            $found = [];
            foreach (['wb_logs' => 'n', 'wb_users' => 'a', 'wb_states' => 'id', 'wb_sums' => 'id'] as $table => $order) {
                $found[$table] = Database::rows("SELECT * FROM $table ORDER BY $order");
            }
            $found['wb_sums'][0]['n'] = bcadd($found['wb_sums'][0]['n'], '0', 6);
            Database::drop(...array_keys($found));
            return $found;
        };
        $sync = $run(new SyncWriteBuffer(Database::pdo(), $tables));
        self::assertSame('again', $sync['wb_states'][0]['name']);
        self::assertEquals($sync, $run($this->buffer(['tables' => $tables])));
    }

    /** @return iterable<string, array{mixed}> */
    public static function badDeclarations(): iterable
    {
        $upsert = ['mode' => 'upsert', 'key' => 'id'];
        foreach (
            [
                'none', [], ['mode' => 'replace'], ['mode' => 5], ['mode' => 'upsert'], ['key' => [['a']]] + $upsert, ['key' => 'a b'] + $upsert,
                ['table' => 'a;b'] + $upsert, ['table' => ''] + $upsert, ['version' => 5] + $upsert, ['missing' => 'ignore'] + $upsert, ['delta' => 'n'] + $upsert,
                ['mode' => 'delta', 'key' => 'id'], ['unique' => 'a'] + $upsert, ['version' => 'v', 'mode' => 'insert'], ['colour' => 'red'] + $upsert,
            ] as $at => $declaration
        ) {
            yield "declaration $at" => [$declaration];
        }
    }

    /**
     * @dataProvider badDeclarations
     */
    #[DataProvider('badDeclarations')]
    public function testADeclarationIsRefusedAsTheNativeBufferDoes(mixed $declaration): void
    {
        $options = ['tables' => ['t' => $declaration]];
        self::thrown(ConfigurationException::class, static fn () => new WriteBuffer(options: $options));
        self::thrown(ConfigurationException::class, static fn () => new SyncWriteBuffer(Database::pdo(), $options['tables']));
    }

    public function testAGroupIsRolledBackAlone(): void
    {
        $buffer = new SyncWriteBuffer(Database::pdo());
        Database::pdo()->beginTransaction();
        $buffer->addOrder(1, self::order());
        $group = static function (SyncWriteBuffer $group): void {
            $group->addOrder(2, self::order());
            throw new \RuntimeException('no');
        };
        self::thrown(\RuntimeException::class, static fn () => $buffer->transaction($group));
        Database::pdo()->commit();
        self::assertSame(1, Database::count('orders'));
        self::assertSame([1, 1], [$buffer->sequence(), $buffer->flush()->getOrdersWritten()]);
        self::thrown(TransactionException::class, static fn () => $buffer->commit());
    }

    public function testAClosedBufferTakesNoRow(): void
    {
        $buffer = new SyncWriteBuffer(Database::pdo());
        $buffer->beginTransaction();
        $buffer->addOrder(1, self::order());
        $buffer->close();
        self::assertSame(0, Database::count('orders'));
        self::thrown(ClosedException::class, static fn () => $buffer->addOrder(1, self::order()));
    }

    public function testThePredeclaredTablesAreThoseOfTheExtension(): void
    {
        Database::createAccount(1, 'usd', '1');
        $native = $this->buffer(['tables' => Declarations::PREDECLARED]);
        $native->addOrder(1, self::order());
        $native->addTrade(self::trade(1));
        $native->addBalanceUpdate(1, 'usd', ['balance' => '1', 'available_balance' => '1', 'usd_amount' => '1']);
        self::assertSucceeded($native->flush());
        // The same declaration again changes nothing: a named buffer would refuse other ones.
        $name = 'same-' . bin2hex(random_bytes(4));
        $this->kept(WriteBuffer::open($name, ['dsn' => Database::dsn()]));
        self::assertSame(0, WriteBuffer::open($name, ['dsn' => Database::dsn(), 'tables' => Declarations::PREDECLARED])->count());
    }

    /** @return iterable<string, array{callable(SyncWriteBuffer): void}> */
    public static function badCalls(): iterable
    {
        foreach ([1.5, true, null, '', '--5', '1 ', str_repeat('9', 66), [], '1e-31', "1\n"] as $at => $amount) {
            yield "amount $at" => [static fn (SyncWriteBuffer $b) => $b->addBalanceUpdate(1, 'usd', ['balance' => $amount])];
        }
        foreach (['usd; DROP TABLE x', '', "usd\n", str_repeat('a', 60)] as $at => $currency) {
            yield "currency $at" => [static fn (SyncWriteBuffer $b) => $b->addBalanceUpdate(1, $currency, ['balance' => '1'])];
        }
        yield 'no changes' => [static fn (SyncWriteBuffer $b) => $b->addBalanceUpdate(1, 'usd', [])];
        yield 'the key column twice' => [static fn (SyncWriteBuffer $b) => $b->addBalanceUpdate(1, 'usd', ['id' => 2, 'balance' => '1'])];
        yield 'an undeclared table' => [static fn (SyncWriteBuffer $b) => $b->add('nowhere', ['a' => 1])];
        yield 'no key' => [static fn (SyncWriteBuffer $b) => $b->add('orders', ['status' => 'new'])];
        yield 'a delete without a key' => [static fn (SyncWriteBuffer $b) => $b->delete('trades', 1)];
        yield 'no account' => [static fn (SyncWriteBuffer $b) => $b->addBalanceUpdate(404, 'usd', ['balance' => '1'])];
        yield 'a list' => [static fn (SyncWriteBuffer $b) => $b->addTrade(['x'])];
        yield 'a column name' => [static fn (SyncWriteBuffer $b) => $b->addTrade(['a`b' => 1])];
        yield 'NAN' => [static fn (SyncWriteBuffer $b) => $b->addTrade(['price' => NAN])];
        yield 'an object' => [static fn (SyncWriteBuffer $b) => $b->addOrder(1, ['price' => new \stdClass()])];
    }

    /**
     * @dataProvider badCalls
     * @param callable(SyncWriteBuffer): void $call
     */
    #[DataProvider('badCalls')]
    public function testABadRowIsRefusedAsTheNativeBufferDoes(callable $call): void
    {
        Database::createAccount(1, 'usd', '5');
        $buffer = new SyncWriteBuffer(Database::pdo());
        self::thrown(InvalidRowException::class, static fn () => $call($buffer));
        self::assertDecimal('5', Database::value('SELECT balance FROM spot_usd_accounts'));
        self::assertSame(0, $buffer->flush()->getTotalWritten());
        self::assertFalse(Database::pdo()->inTransaction());
    }

    public function testALaravelConnectionServesAsWell(): void
    {
        $autoload = '/usr/share/php/Illuminate/autoload.php';
        $vendor = dirname(__DIR__) . '/vendor/autoload.php';
        $file = is_file($vendor) ? $vendor : $autoload;
        if (!is_file($file)) {
            self::markTestSkipped('Laravel is not installed here.');
        }
        Database::createAccount(1, 'usd', '0.1');
        $child = Subprocess::run(<<<'PHP'
            error_reporting(E_ALL & ~E_DEPRECATED);
            require getenv('ILLUMINATE');
            spl_autoload_register(static function (string $class): void {
                if (str_starts_with($class, 'WriteBuffer\\')) {
                    require getenv('LIBRARY') . '/' . strtr(substr($class, 12), '\\', '/') . '.php';
                }
            });
            $url = parse_url($dsn);
            $capsule = new Illuminate\Database\Capsule\Manager();
            $capsule->addConnection(str_starts_with($dsn, 'sqlite:')
                ? ['driver' => 'sqlite', 'database' => substr($dsn, strlen('sqlite://'))]
                : ['driver' => 'mysql', 'host' => $url['host'], 'port' => $url['port'], 'username' => rawurldecode($url['user']),
                    'password' => rawurldecode($url['pass']), 'database' => ltrim($url['path'], '/'), 'strict' => true]);
            $connection = $capsule->getConnection();
            $buffer = new WriteBuffer\SyncWriteBuffer($connection);
            $connection->beginTransaction();
            $buffer->addOrder(8, ['user_id' => 7, 'status' => 'new', 'quantity' => '1']);
            $connection->rollBack();
            $buffer->addOrder(1, ['user_id' => 7, 'status' => 'new', 'quantity' => '1']);
            $buffer->addOrder(1, ['status' => 'executed']);
            $buffer->addTrade(trade(1));
            $buffer->addBalanceUpdate(1, 'usd', ['balance' => '0.000000000000000001']);
            echo $buffer->flush()->getTotalWritten();
            PHP, ['ILLUMINATE' => $file, 'LIBRARY' => dirname(__DIR__) . '/laravel/src']);
        self::assertSame([0, '5'], [$child->exitCode, $child->stdout()], $child->output());
        self::assertSame(['1executed'], array_map('implode', Database::rows('SELECT id, status FROM orders')));
        self::assertDecimal('0.100000000000000001', Database::value('SELECT balance FROM spot_usd_accounts'));
    }

    public function testItWorksWithoutTheExtension(): void
    {
        $child = Subprocess::php(['-d', 'display_errors=stderr', '-r', <<<'PHP'
            spl_autoload_register(function ($class) {
                foreach (['', 'polyfill/'] as $part) {
                    $file = $_SERVER['argv'][1] . '/' . $part . strtr(substr($class, 12), '\\', '/') . '.php';
                    if (str_starts_with($class, 'WriteBuffer\\') && is_file($file)) { require $file; return; }
                }
            });
            if (extension_loaded('write_buffer')) { echo 'loaded'; exit; }
            $pdo = new PDO('sqlite::memory:');
            $pdo->exec('CREATE TABLE orders (id INTEGER PRIMARY KEY, status TEXT)');
            $buffer = WriteBuffer\WriteBufferFactory::createSync($pdo);
            $buffer->addOrder(1, ['status' => 'new']);
            echo $buffer instanceof WriteBuffer\WriteBufferInterface ? 'i' : 'x', $buffer->flush()->getOrdersWritten();
            try { $buffer->addTrade(['a b' => 1]); } catch (WriteBuffer\Exception\WriteBufferException) { echo 'e'; }
            try { WriteBuffer\WriteBufferFactory::createAsync(); } catch (WriteBuffer\Exception\ConfigurationException) { echo 'c'; }
            PHP, '--', dirname(__DIR__) . '/laravel/src']);
        self::assertContains($child->stdout(), ['i1ec', 'loaded'], $child->output());
    }

    public function testThePolyfillHasTheSignaturesOfTheExtension(): void
    {
        $child = Subprocess::php(['-n', '-r', <<<'PHP'
            require $_SERVER['argv'][1] . '/phpunit-tests/Support/Signature.php';
            foreach (['WriteBufferInterface', 'FlushResult'] as $class) {
                require $_SERVER['argv'][1] . "/laravel/src/polyfill/$class.php";
                foreach ((new ReflectionClass("WriteBuffer\\$class"))->getMethods(ReflectionMethod::IS_PUBLIC) as $method) {
                    echo $class, ' ', WriteBuffer\Tests\Support\Signature::of($method), "\n";
                }
            }
            echo json_encode(array_keys(WriteBuffer\FlushResult::empty()->toArray()));
            PHP, '--', dirname(__DIR__)]);
        $native = [];
        foreach ([WriteBufferInterface::class, FlushResult::class] as $class) {
            foreach ((new ReflectionClass($class))->getMethods(ReflectionMethod::IS_PUBLIC) as $method) {
                $native[] = (new ReflectionClass($class))->getShortName() . ' ' . Signature::of($method);
            }
        }
        $lines = explode("\n", $child->stdout());
        self::assertSame(json_encode(array_keys(FlushResult::empty()->toArray())), array_pop($lines), $child->output());
        self::assertEqualsCanonicalizing($native, $lines);
    }
}
