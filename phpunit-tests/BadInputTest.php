<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use DateTimeZone;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use stdClass;
use WriteBuffer;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Exception\InvalidRowException;
use WriteBuffer\Tests\Support\Side;

/**
 * Bad input is refused by an exception that says what was wrong, and changes nothing.
 */
final class BadInputTest extends TestCase
{
    private const TABLES = [
        'counters' => ['mode' => 'delta', 'key' => 'name', 'delta' => ['n']],
        'pairs' => ['mode' => 'upsert', 'key' => ['a', 'b']],
        'versioned' => ['mode' => 'upsert', 'key' => 'id', 'version' => 'v'],
        'changes' => ['mode' => 'update', 'key' => 'id'],
    ];

    /** @return iterable<string, array{string, array<mixed>, list<string>}> */
    public static function rows(): iterable
    {
        yield 'undeclared table' => ['nowhere', ['id' => 1], ['nowhere', 'orders, trades, balances']];
        yield 'empty table name' => ['', ['id' => 1], ['""']];
        yield 'table name with a quote' => ["orders'", ['id' => 1], ["orders'"]];
        yield 'no key column' => ['orders', ['status' => 'new'], ['orders', 'id']];
        yield 'empty row' => ['orders', [], ['orders', 'id']];
        yield 'half a key' => ['pairs', ['a' => 1, 'v' => 2], ['pairs', 'b']];
        yield 'nothing but a key, in a delta table' => ['counters', ['name' => 'x'], ['counters']];
        yield 'nothing but a key, in an update table' => ['changes', ['id' => 1], ['changes']];
        yield 'no version' => ['versioned', ['id' => 1], ['versioned', 'v']];
        yield 'version null' => ['versioned', ['id' => 1, 'v' => null], ['versioned', 'v', 'null']];
        yield 'version float' => ['versioned', ['id' => 1, 'v' => 1.5], ['versioned', 'v', 'float']];
        yield 'a column given twice' => [
            'balances', ['user_id' => 1, 'id' => 2, 'currency' => 'usd', 'balance' => '1'], ['balances', 'id'],
        ];
        $names = [
            'empty' => '', 'space' => 'a b', 'backtick' => 'a`b', 'quote' => "a'b", 'NUL' => "a\0b", 'dot' => 'a.b',
            'dash' => 'a-b', 'umlaut' => 'größe', 'statement' => 'id; DROP TABLE x', 'newline' => "a\n",
            '65 characters' => str_repeat('a', 65), 'not UTF-8' => "\xff\xfe",
        ];
        foreach ($names as $what => $name) {
            yield "column name: $what" => ['orders', ['id' => 1, $name => 1], ['orders', 'column name']];
        }
        yield 'a list' => ['orders', [1, 'new'], ['orders']];
        yield 'a list of rows' => ['orders', [['id' => 1]], ['orders']];
        yield 'one integer key' => ['orders', ['id' => 1, 5 => 'x'], ['orders']];
        yield 'key null' => ['orders', ['id' => null], ['orders', 'id', 'null']];
        yield 'key float' => ['orders', ['id' => 1.5], ['orders', 'id', 'float']];
        yield 'key float without fraction' => ['orders', ['id' => 1.0], ['orders', 'id', 'float']];
        yield 'key array' => ['orders', ['id' => [1]], ['orders', 'id', 'array']];
        yield 'part of a key null' => ['pairs', ['a' => 1, 'b' => null], ['pairs', 'b', 'null']];
        foreach (['NAN' => NAN, 'INF' => INF, '-INF' => -INF] as $what => $value) {
            yield "$what as a value" => ['orders', ['id' => 1, 'price' => $value], ['orders', 'price']];
            yield "$what as a key" => ['orders', ['id' => $value], ['orders', 'id']];
            yield "$what as a delta" => ['counters', ['name' => 'x', 'n' => $value], ['counters', 'n']];
            yield "$what as a value of an appended row" => ['trades', ['price' => $value], ['trades', 'price']];
        }
        $values = [
            'array' => [[1, 2], 'array'], 'empty array' => [[], 'array'], 'object' => [new stdClass(), 'stdClass'],
            'closure' => [static fn () => 1, 'Closure'], 'enum without a backing value' => [Side::Buy, 'Side'],
            'resource' => [STDIN, 'resource'], 'object that is no text' => [new DateTimeZone('UTC'), 'DateTimeZone'],
            'generator' => [(static fn () => yield 1)(), 'Generator'],
        ];
        foreach ($values as $what => [$value, $type]) {
            yield "$what as a value" => ['orders', ['id' => 1, 'price' => $value], ['orders', 'price', $type]];
            yield "$what as a delta" => ['counters', ['name' => 'x', 'n' => $value], ['counters', 'n', $type]];
            yield "$what as a key" => ['orders', ['id' => $value, 'price' => 1], ['orders', 'id', $type]];
        }
        $deltas = [
            'float' => 1.5, 'float without fraction' => 1.0, 'true' => true, 'false' => false, 'null' => null,
            'empty' => '', 'two signs' => '--5', 'word' => 'abc', 'two points' => '1.2.3', 'comma' => '1,5',
            'leading space' => ' 1', 'trailing space' => '1 ', 'newline' => "1\n", 'NUL' => "1\0", 'sign' => '-',
            'point' => '.', 'half an exponent' => '1e', 'exponent alone' => 'e5', 'huge exponent' => '1e999',
            'huge negative exponent' => '1e-999', 'endless exponent' => '1e99999999999999999999', 'hex' => '0x1A',
            'underscore' => '1_000', '66 digits' => str_repeat('9', 66), 'text NAN' => 'NAN', 'text INF' => 'INF',
            '31 fraction digits' => '0.' . str_repeat('0', 30) . '1', 'digits of another script' => '١٢',
            '66 digits with a point' => str_repeat('9', 40) . '.' . str_repeat('9', 26),
        ];
        foreach ($deltas as $what => $delta) {
            yield "delta: $what" => ['counters', ['name' => 'x', 'n' => $delta], ['counters', 'n']];
        }
        $currencies = [
            'statement' => 'usd; DROP TABLE x', 'empty' => '', 'dash' => 'usd-t', 'dot' => 'a.b', 'umlaut' => 'ü',
            'newline' => "usd\n", 'backtick' => '`', 'null' => null, 'array' => ['usd'], 'float' => 1.5,
            'so long that the table name is too long' => str_repeat('a', 51),
        ];
        foreach ($currencies as $what => $currency) {
            $row = ['user_id' => 1, 'currency' => $currency, 'balance' => '1'];
            yield "currency: $what" => ['balances', $row, ['balances', 'currency']];
        }
        yield 'no currency' => ['balances', ['user_id' => 1, 'balance' => '1'], ['balances', 'currency']];
    }

    /**
     * @dataProvider rows
     * @param array<mixed> $row
     * @param list<string> $facts
     */
    #[DataProvider('rows')]
    public function testABadRowIsRefused(string $table, array $row, array $facts): void
    {
        self::assertRefused(static fn (WriteBuffer $buffer) => $buffer->add($table, $row), $facts);
    }

    /**
     * @dataProvider rows
     * @param array<mixed> $row
     * @param list<string> $facts
     */
    #[DataProvider('rows')]
    public function testABadRowIsNoPartOfATransaction(string $table, array $row, array $facts): void
    {
        $buffer = self::newBuffer();
        $buffer->beginTransaction();
        self::assertSame(1, $buffer->add('orders', ['id' => 8, 'status' => 'new']));
        try {
            $buffer->add($table, $row);
            self::fail('accepted');
        } catch (InvalidRowException $error) {
            self::assertStringContainsString($facts[0], $error->getMessage());
            self::assertSame(2, $buffer->add('orders', ['id' => 9, 'status' => 'new']));
        }
        self::assertSame(2, $buffer->commit());
        self::assertCount(2, $buffer);
        $buffer->clear();
    }

    /** @return iterable<string, array{callable(WriteBuffer): mixed, list<string>}> */
    public static function calls(): iterable
    {
        $keys = [
            'undeclared table' => ['nowhere', 1, ['nowhere']],
            'table without a key' => ['trades', 1, ['trades']],
            'one value for two columns' => ['pairs', 1, ['pairs']],
            'one value where the table name needs another' => ['balances', 1, ['balances', 'currency']],
            'half a key' => ['pairs', ['a' => 1], ['pairs', 'b']],
            'no template field' => ['balances', ['user_id' => 1], ['balances', 'currency']],
            'empty array' => ['orders', [], ['orders', 'id']],
            'a column that is no key' => ['orders', ['status' => 'new'], ['orders', 'id']],
            'null' => ['orders', ['id' => null], ['orders', 'id']],
            'float' => ['orders', ['id' => 1.5], ['orders', 'id']],
            'array in an array' => ['orders', ['id' => [1]], ['orders', 'id']],
            'object' => ['orders', ['id' => new stdClass()], ['orders', 'id']],
            'bad currency' => ['balances', ['user_id' => 1, 'currency' => 'a b'], ['balances', 'currency']],
        ];
        foreach ($keys as $what => [$table, $key, $facts]) {
            yield "delete: $what" => [static fn (WriteBuffer $b) => $b->delete($table, $key), $facts];
            yield "find: $what" => [static fn (WriteBuffer $b) => $b->find($table, $key), $facts];
        }
        yield 'addOrder: a list' => [static fn (WriteBuffer $b) => $b->addOrder(1, ['new']), ['orders']];
        yield 'addOrder: NAN' => [static fn (WriteBuffer $b) => $b->addOrder(1, ['price' => NAN]), ['orders', 'price']];
        yield 'addTrade: an array' => [static fn (WriteBuffer $b) => $b->addTrade(['price' => []]), ['trades', 'price']];
        yield 'addBalanceUpdate: float' => [
            static fn (WriteBuffer $b) => $b->addBalanceUpdate(1, 'usd', ['balance' => 0.1]), ['balances', 'balance'],
        ];
        yield 'addBalanceUpdate: no changes' => [
            static fn (WriteBuffer $b) => $b->addBalanceUpdate(1, 'usd', []), ['balances'],
        ];
        yield 'addBalanceUpdate: currency' => [
            static fn (WriteBuffer $b) => $b->addBalanceUpdate(1, 'usd; DROP TABLE x', ['balance' => '1']),
            ['balances', 'currency', 'usd; DROP TABLE x'],
        ];
    }

    /**
     * @dataProvider calls
     * @param callable(WriteBuffer): mixed $call
     * @param list<string> $facts
     */
    #[DataProvider('calls')]
    public function testABadCallIsRefused(callable $call, array $facts): void
    {
        self::assertRefused($call, $facts);
    }

    public function testAMessageDoesNotRepeatAHugeValue(): void
    {
        $buffer = self::newBuffer();
        try {
            $buffer->add('counters', ['name' => 'x', 'n' => str_repeat('x', 1_000_000)]);
            self::fail('accepted');
        } catch (InvalidRowException $error) {
            self::assertLessThan(1_000, strlen($error->getMessage()));
        }
    }

    public function testARecursiveArrayIsRefused(): void
    {
        $row = ['id' => 1];
        $row['self'] = &$row;
        self::assertRefused(static fn (WriteBuffer $buffer) => $buffer->add('orders', $row), ['orders', 'self', 'array']);
    }

    /** @return iterable<string, array{array<mixed>, list<string>}> */
    public static function options(): iterable
    {
        yield 'unknown' => [['max_sise' => 1], ['max_sise', 'max_buffer_size']];
        yield 'a list' => [[5], ['0']];
        $ints = ['max_buffer_size', 'flush_interval_ms', 'max_retries', 'max_pending_rows', 'max_pending_bytes',
            'block_timeout_ms', 'flush_timeout_ms', 'drain_timeout_ms', 'connect_timeout_ms',
            'write_timeout_ms', 'retry_base_ms', 'retry_max_ms', 'journal_sync_ms', 'journal_max_bytes'];
        foreach ($ints as $option) {
            yield "$option: negative" => [[$option => -1], [$option, '-1']];
            yield "$option: float" => [[$option => 10.5], [$option, '10.5']];
            yield "$option: word" => [[$option => 'many'], [$option, 'many']];
            yield "$option: array" => [[$option => [1]], [$option, 'array']];
            yield "$option: bool" => [[$option => true], [$option, 'true']];
            yield "$option: too large" => [[$option => PHP_INT_MAX], [$option, (string) PHP_INT_MAX]];
        }
        yield 'size 0' => [['max_buffer_size' => 0], ['max_buffer_size', '0']];
        yield 'interval 0' => [['flush_interval_ms' => 0], ['flush_interval_ms', '0']];
        foreach (['process', 'interval', 'always', 'sometimes', ''] as $journal) {
            if ($journal !== '') {
                yield "journal: $journal" => [['journal' => $journal], ['journal', $journal]];
            }
        }
        yield 'on_full' => [['on_full' => 'drop'], ['on_full', 'drop', 'block, throw']];
        yield 'on_error' => [['on_error' => 'ignore'], ['on_error', 'ignore', 'quarantine, halt']];
        yield 'name with a slash' => [['name' => 'a/b'], ['name', 'a/b']];
        yield 'name too long' => [['name' => str_repeat('a', 65)], ['name']];
        yield 'journal_dir of another type' => [['journal_dir' => 5], ['journal_dir', 'int']];
        yield 'object' => [['session' => new stdClass()], ['session', 'stdClass']];
        $dsns = [
            'no scheme' => ['app:hunter2', 'scheme'], 'another scheme' => ['pgsql://app:hunter2@db/spot', 'pgsql'],
            'no database' => ['mysql://app:hunter2@db', 'database'], 'no number' => ['mysql://app:hunter2@db:x/spot', 'port'],
            'port too large' => ['mysql://app:hunter2@db:70000/spot', '70000'], 'relative' => ['sqlite://hunter.db', 'absolute'],
            'memory' => ['sqlite::memory:', 'scheme'],
            'unknown parameter' => ['mysql://app:hunter2@db/spot?password=hunter2', 'password'],
            'ssl mode' => ['mysql://app:hunter2@db/spot?ssl-mode=maybe', 'maybe'],
        ];
        foreach ($dsns as $what => [$dsn, $fact]) {
            yield "dsn: $what" => [['dsn' => $dsn], [$fact]];
        }
        yield 'dsn: int' => [['dsn' => 5], ['dsn']];
        yield 'dsn: array' => [['dsn' => ['hunter2']], ['dsn']];
        $tables = [
            'no mode' => [[], 'mode'], 'bad mode' => [['mode' => 'merge'], 'merge'], 'mode int' => [['mode' => 5], 'mode'],
            'no key' => [['mode' => 'upsert'], 'key'], 'no delta' => [['mode' => 'delta', 'key' => 'id'], 'delta'],
            'delta with upsert' => [['mode' => 'upsert', 'key' => 'id', 'delta' => ['n']], 'delta'],
            'version with insert' => [['mode' => 'insert', 'version' => 'v'], 'version'],
            'version with delta' => [['mode' => 'delta', 'key' => 'id', 'delta' => ['n'], 'version' => 'v'], 'version'],
            'unique with upsert' => [['mode' => 'upsert', 'key' => 'id', 'unique' => 'u'], 'unique'],
            'key is a delta' => [['mode' => 'delta', 'key' => 'id', 'delta' => ['id']], 'id'],
            'bad key' => [['mode' => 'upsert', 'key' => 'a b'], 'a b'], 'bad table' => [['mode' => 'insert', 'table' => 'a b'], 'a b'],
            'open template' => [['mode' => 'insert', 'table' => 'a_{b'], 'a_{b'],
            'missing' => [['mode' => 'update', 'key' => 'id', 'missing' => 'ignore'], 'ignore'],
            'unknown setting' => [['mode' => 'insert', 'kye' => 'id'], 'kye'],
        ];
        foreach ($tables as $what => [$declaration, $fact]) {
            yield "table: $what" => [['tables' => ['things' => $declaration]], ['things', $fact]];
        }
        yield 'tables: word' => [['tables' => 'orders'], ['tables']];
        yield 'tables: list' => [['tables' => ['orders']], ['0']];
        yield 'table that is no array' => [['tables' => ['orders' => 'upsert']], ['orders']];
        yield 'session: bad name' => [['session' => ['a b' => 1]], ['session', 'a b']];
        yield 'session: array' => [['session' => ['sql_mode' => []]], ['session', 'sql_mode']];
        yield 'session: float' => [['session' => ['long_query_time' => 1.5]], ['session', 'long_query_time']];
    }

    /**
     * @dataProvider options
     * @param array<mixed> $options
     * @param list<string> $facts
     */
    #[DataProvider('options')]
    public function testABadOptionIsRefused(array $options, array $facts): void
    {
        foreach ([static fn () => new WriteBuffer(options: $options), static fn () => WriteBuffer::open('bad', $options)] as $act) {
            try {
                $act();
                self::fail('accepted');
            } catch (ConfigurationException $error) {
                foreach ($facts as $fact) {
                    self::assertStringContainsString($fact, $error->getMessage());
                }
                self::assertStringNotContainsString('hunter2', (string) $error);
            }
        }
    }

    /** @return iterable<string, array{array<string, int>, string}> */
    public static function sizes(): iterable
    {
        yield 'negative size' => [['maxBufferSize' => -5], 'max_buffer_size'];
        yield 'no size' => [['maxBufferSize' => 0], 'max_buffer_size'];
        yield 'negative interval' => [['flushIntervalMs' => -1], 'flush_interval_ms'];
        yield 'negative retries' => [['maxRetries' => -1], 'max_retries'];
    }

    /**
     * @dataProvider sizes
     * @param array<string, int> $arguments
     */
    #[DataProvider('sizes')]
    public function testABadPositionalOptionIsRefused(array $arguments, string $option): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage($option);
        new WriteBuffer(...$arguments);
    }

    /** @return iterable<string, array{string}> */
    public static function names(): iterable
    {
        foreach (['', 'a/b', '../x', "a\0b", 'a b', str_repeat('a', 65), 'größe'] as $name) {
            yield json_encode($name) . strlen($name) => [$name];
        }
    }

    /** @dataProvider names */
    #[DataProvider('names')]
    public function testABadNameOfABufferIsRefused(string $name): void
    {
        $this->expectException(ConfigurationException::class);
        $this->expectExceptionMessage('name');
        WriteBuffer::open($name);
    }

    private static function newBuffer(): WriteBuffer
    {
        return new WriteBuffer(options: ['tables' => self::TABLES]);
    }

    /**
     * @param callable(WriteBuffer): mixed $call
     * @param list<string> $facts
     */
    private static function assertRefused(callable $call, array $facts): void
    {
        $buffer = self::newBuffer();
        self::assertSame(1, $buffer->add('orders', ['id' => 7, 'status' => 'new']));
        try {
            $call($buffer);
            self::fail('accepted');
        } catch (InvalidRowException $error) {
            foreach ($facts as $fact) {
                self::assertStringContainsString($fact, $error->getMessage());
            }
        }
        self::assertCount(1, $buffer);
        self::assertSame(1, $buffer->sequence());
        self::assertSame(['id' => 7, 'status' => 'new'], $buffer->find('orders', 7));
        self::assertSame(2, $buffer->add('counters', ['name' => 'y', 'n' => '1']));
        self::assertCount(2, $buffer);
        $buffer->clear();
    }
}
