<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use ArrayObject;
use DateTime;
use DateTimeImmutable;
use DateTimeZone;
use PHPUnit\Framework\Attributes\DataProvider;
use RuntimeException;
use Stringable;
use WriteBuffer;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\Priority;
use WriteBuffer\Tests\Support\Status;

/**
 * What may stand in a row, and what arrives in the database.
 */
final class ValueTypesTest extends DatabaseTestCase
{
    private const TABLES = ['kinds' => ['mode' => 'upsert', 'table' => 'wb_kinds', 'key' => 'id'],
        'texts' => ['mode' => 'upsert', 'table' => 'wb_texts', 'key' => 'name']];

    private WriteBuffer $buffer;

    protected function setUp(): void
    {
        $text = Database::isSqlite() ? 'TEXT' : 'LONGTEXT';
        $blob = Database::isSqlite() ? 'BLOB' : 'LONGBLOB';
        $double = Database::isSqlite() ? 'REAL' : 'DOUBLE';
        $time = Database::isSqlite() ? 'TEXT' : 'DATETIME(6)';
        Database::create('wb_kinds', "id BIGINT PRIMARY KEY, n BIGINT NULL, x $double NULL, t $text NULL, b $blob NULL,
            d $time NULL, m " . Database::money() . ' NULL');
        Database::create('wb_texts', 'name VARCHAR(50) PRIMARY KEY, n BIGINT NULL');
        $this->buffer = $this->buffer(['tables' => self::TABLES]);
    }

    /** @return iterable<string, array{string, mixed, mixed}> */
    public static function values(): iterable
    {
        foreach (['n', 'x', 't', 'b', 'd', 'm'] as $column) {
            yield "null in $column" => [$column, null, null];
        }
        yield 'true' => ['n', true, 1];
        yield 'false' => ['n', false, 0];
        yield 'int' => ['n', 42, 42];
        yield 'largest int' => ['n', PHP_INT_MAX, PHP_INT_MAX];
        yield 'smallest int' => ['n', PHP_INT_MIN, PHP_INT_MIN];
        yield 'text of a number' => ['n', '42', 42];
        yield 'float' => ['x', 0.1, 0.1];
        yield 'small float' => ['x', 1.5e-300, 1.5e-300];
        yield 'large float' => ['x', 1.7976931348623157e308, 1.7976931348623157e308];
        yield 'negative float' => ['x', -2.5, -2.5];
        yield 'float that needs 17 digits' => ['x', 0.1 + 0.2, 0.1 + 0.2];
        $texts = [
            'plain' => 'plain', 'empty' => '', 'quotes' => "it's \"quoted\" `here`", 'backslashes' => '\\ \\\\ \\\' \\" \\n \\0',
            'line ends' => "a\r\nb\nc\rd", 'emoji' => '🦀🐘 grüße', 'zero width and combining' => "e\u{301}\u{200d}",
            'placeholder signs' => '? ?? :name @var %s $1', 'comment' => '/* -- # */; DROP TABLE wb_kinds; --', 'spaces' => '  x  ',
            'null word' => 'NULL', 'zero' => '0', 'long' => str_repeat('äöü 🦀', 20_000),
        ];
        foreach ($texts as $what => $text) {
            yield "text: $what" => ['t', $text, $text];
        }
        yield 'text: NUL' => ['t', "a\0b\x1ac", "a\0b\x1ac"];
        yield 'bytes: all' => ['b', implode('', array_map('chr', range(0, 255))), implode('', array_map('chr', range(0, 255)))];
        yield 'bytes: NUL first and last' => ['b', "\0x\0", "\0x\0"];
        yield 'bytes: not UTF-8' => ['b', "\xff\xfe\xc3\x28", "\xff\xfe\xc3\x28"];
        yield 'bytes: quotes' => ['b', "\\'\"\0\\", "\\'\"\0\\"];
        yield 'bytes: 3 MB' => ['b', str_repeat("\0\xff'\\", 786_432), str_repeat("\0\xff'\\", 786_432)];
        yield 'enum of text' => ['t', Status::Executed, 'executed'];
        yield 'enum of int' => ['n', Priority::High, 9];
        yield 'stringable' => ['t', new class {
            public function __toString(): string
            {
                return "from an object's \"text\"";
            }
        }, "from an object's \"text\""];
        yield 'exact amount' => ['m', '123456789012345678.123456789012345678', '123456789012345678.123456789012345678'];
    }

    /** @dataProvider values */
    #[DataProvider('values')]
    public function testAValueArrivesAsItWasGiven(string $column, mixed $given, mixed $expected): void
    {
        $this->buffer->add('kinds', ['id' => 1, $column => $given]);
        self::assertSucceeded($this->buffer->flush());
        $found = Database::rows("SELECT $column FROM wb_kinds")[0][$column];
        self::assertSame(is_string($expected) ? md5($expected) : $expected, is_string($found) ? md5($found) : $found);
    }

    /** @dataProvider values */
    #[DataProvider('values')]
    public function testAValueReplacesAnother(string $column, mixed $given, mixed $expected): void
    {
        Database::execute('INSERT INTO wb_kinds (id, n, x) VALUES (1, 7, 7.5)');
        $this->buffer->add('kinds', [$column => $given, 'id' => 1]);
        self::assertSucceeded($this->buffer->flush());
        $found = Database::rows("SELECT $column FROM wb_kinds")[0][$column];
        self::assertSame(is_string($expected) ? md5($expected) : $expected, is_string($found) ? md5($found) : $found);
    }

    public function testAMomentIsWrittenInItsOwnTimeZoneWithMicroseconds(): void
    {
        $zone = new DateTimeZone('+05:30');
        $this->buffer->add('kinds', ['id' => 1, 'd' => new DateTimeImmutable('2026-05-02 12:34:56.789012', $zone)]);
        $this->buffer->add('kinds', ['id' => 2, 'd' => new DateTime('1999-12-31 23:59:59', $zone)]);
        self::assertSame('2026-05-02 12:34:56.789012', $this->buffer->find('kinds', 1)['d']);
        self::assertSucceeded($this->buffer->flush());
        $found = array_column(Database::rows('SELECT d FROM wb_kinds ORDER BY id'), 'd');
        self::assertSame('2026-05-02 12:34:56.789012', $found[0]);
        self::assertStringStartsWith('1999-12-31 23:59:59', $found[1]);
    }

    public function testAMomentOfAClassOfTheApplicationIsOneToo(): void
    {
        $moment = new class ('2026-05-02 01:02:03') extends DateTimeImmutable implements Stringable {
            public function __toString(): string
            {
                return 'not this';
            }
        };
        $this->buffer->add('kinds', ['id' => 1, 'd' => $moment]);
        self::assertStringStartsWith('2026-05-02 01:02:03', $this->buffer->find('kinds', 1)['d']);
    }

    public function testObjectsMayBeKeysAmountsAndVersions(): void
    {
        $text = static fn (string $text): Stringable => new class ($text) implements Stringable {
            public function __construct(private readonly string $text)
            {
            }

            public function __toString(): string
            {
                return $this->text;
            }
        };
        $this->buffer->add('texts', ['name' => Status::New, 'n' => 1]);
        self::assertSame(['name' => 'new', 'n' => 1], $this->buffer->find('texts', 'new'));
        self::assertSame(1, $this->buffer->find('texts', ['name' => Status::New])['n']);
        $this->buffer->addBalanceUpdate(1, 'usd', ['balance' => $text('0.1')]);
        $this->buffer->addBalanceUpdate(1, 'usd', ['balance' => $text('0.2')]);
        self::assertSame('0.3', $this->buffer->find('balances', ['user_id' => $text('1'), 'currency' => $text('usd')])['balance']);
        $this->buffer->delete('texts', ['name' => Status::New]);
        self::assertSame([], $this->buffer->find('texts', 'new'));
    }

    public function testReferencesAreTheirValues(): void
    {
        $n = 1;
        $row = ['id' => 1, 'n' => &$n];
        $this->buffer->add('kinds', $row);
        $n = 2;
        self::assertSame(['id' => 1, 'n' => 1], $this->buffer->find('kinds', 1));
        foreach ($row as &$value) {
            $value = $value;
        }
        $this->buffer->add('kinds', $row);
        self::assertSame(['id' => 1, 'n' => 2], $this->buffer->find('kinds', 1));
        $key = ['id' => &$row['id']];
        self::assertSame(2, $this->buffer->find('kinds', $key)['n']);
    }

    public function testARowThatIsChangedOrFreedAfterwardsIsNotTheBuffers(): void
    {
        $row = ['id' => 1, 't' => str_repeat('a', 100)];
        $this->buffer->add('kinds', $row);
        $row['t'][0] = 'b';
        unset($row);
        $filler = [];
        for ($i = 0; $i < 1_000; $i++) {
            $filler[] = str_repeat(chr(65 + $i % 26), 100);
        }
        self::assertSame(str_repeat('a', 100), $this->buffer->find('kinds', 1)['t']);
        self::assertCount(1_000, $filler);
    }

    public function testRowsWithHolesAndOfAnyMakeAreRead(): void
    {
        $holes = ['x' => 1, 'id' => 1, 'y' => 2, 'n' => 5];
        unset($holes['x'], $holes['y']);
        $this->buffer->add('kinds', $holes);
        self::assertSame(['id' => 1, 'n' => 5], $this->buffer->find('kinds', 1));
        $this->buffer->add('kinds', (array) (object) ['id' => 2, 'n' => 6]);
        self::assertSame(['id' => 2, 'n' => 6], $this->buffer->find('kinds', 2));
        $this->buffer->add('kinds', json_decode('{"id": 3, "n": 7}', true));
        self::assertSame(['id' => 3, 'n' => 7], $this->buffer->find('kinds', 3));
        // Names made at run time: equal text, another string each time.
        foreach (['n', 't', 'n'] as $at => $name) {
            $this->buffer->add('kinds', [strrev('di') => 4, substr("_$name", 1) => $at]);
        }
        self::assertSame(['id' => 4, 'n' => 2, 't' => 1], $this->buffer->find('kinds', 4));
    }

    public function testNamesThatTakeTheMemoryOfOthersAreNotMistaken(): void
    {
        for ($i = 0; $i < 5_000; $i++) {
            $name = ['n', 'x', 't'][$i % 3];
            $row = [];
            $row[implode('', ['i', 'd'])] = $i;
            $row[str_replace('_', '', "_$name")] = $i % 7;
            $this->buffer->add('kinds', $row);
            unset($row);
            if ($i % 500 === 0) {
                self::assertSame(['id' => $i, $name => $i % 7], $this->buffer->find('kinds', $i));
            }
        }
        self::assertCount(5_000, $this->buffer);
        $this->buffer->clear();
    }

    public function testAWideRowIsWritten(): void
    {
        $columns = array_map(static fn (int $n): string => "c$n", range(1, 100));
        $list = implode(', ', array_map(static fn (string $c): string => "$c BIGINT NULL", $columns));
        Database::create('wb_wide', "id BIGINT PRIMARY KEY, $list");
        $buffer = $this->buffer(['tables' => ['wide' => ['mode' => 'upsert', 'table' => 'wb_wide', 'key' => 'id']]]);
        for ($id = 1; $id <= 30; $id++) {
            $buffer->add('wide', ['id' => $id] + array_combine($columns, range($id, $id + 99)));
        }
        self::assertSucceeded($buffer->flush());
        self::assertEquals(30 + 99, Database::value('SELECT c100 FROM wb_wide WHERE id = 30'));
    }

    public function testAnExceptionOfAnObjectComesThroughAndNothingIsBuffered(): void
    {
        $bad = new class {
            public function __toString(): string
            {
                throw new RuntimeException('no text');
            }
        };
        foreach (['t' => $bad, 'id' => $bad] as $column => $value) {
            $error = self::thrown(RuntimeException::class, fn () => $this->buffer->add('kinds', [$column => $value] + ['id' => 1, 't' => 'x']));
            self::assertSame('no text', $error->getMessage());
        }
        self::assertCount(0, $this->buffer);
        $date = new class ('now') extends DateTimeImmutable {
            public function format(string $format): string
            {
                throw new RuntimeException('no format');
            }
        };
        self::thrown(RuntimeException::class, fn () => $this->buffer->add('kinds', ['id' => 1, 'd' => $date]));
        self::assertSame(1, $this->buffer->add('kinds', ['id' => 1]));
        $this->buffer->clear();
    }

    public function testAnObjectMayUseTheBufferWhileItIsRead(): void
    {
        $reentrant = new class ($this->buffer) {
            public function __construct(private readonly WriteBuffer $buffer)
            {
            }

            public function __toString(): string
            {
                $this->buffer->add('kinds', ['id' => 2, 'n' => 5]);
                $this->buffer->find('kinds', 2);
                $this->buffer->flush(5_000);
                return 'text';
            }
        };
        self::assertSame(2, $this->buffer->add('kinds', ['id' => 1, 't' => $reentrant]));
        self::assertSucceeded($this->buffer->flush());
        self::assertSame(2, Database::count('wb_kinds'));
    }

    public function testAnObjectMayChangeTheRowWhileItIsRead(): void
    {
        $rows = new ArrayObject();
        $rows['row'] = ['id' => 1, 'n' => 1, 't' => new class ($rows) {
            public function __construct(private readonly ArrayObject $rows)
            {
            }

            public function __toString(): string
            {
                $this->rows['row'] = [];
                gc_collect_cycles();
                return str_repeat('z', 50);
            }
        }, 'x' => 1.5];
        $this->buffer->add('kinds', $rows['row']);
        self::assertSame(['id' => 1, 'n' => 1, 't' => str_repeat('z', 50), 'x' => 1.5], $this->buffer->find('kinds', 1));
        $this->buffer->clear();
    }

    public function testAReferenceMayBeChangedWhileItIsRead(): void
    {
        $text = str_repeat('a', 50);
        $row = ['id' => 1, 'b' => &$text, 't' => new class ($text) {
            private string $text;

            public function __construct(string &$text)
            {
                $this->text = &$text;
            }

            public function __toString(): string
            {
                $this->text = str_repeat('b', 10_000);
                return 'z';
            }
        }];
        $this->buffer->add('kinds', $row);
        self::assertContains($this->buffer->find('kinds', 1)['b'], [str_repeat('a', 50), str_repeat('b', 10_000)]);
        $this->buffer->clear();
    }

    public function testKeysOfAnyBytesAreKeptApart(): void
    {
        $names = ["it's", 'back\\slash', '"', 'ünïcode 🦀', ' ', 'a%b_c', "tab\tnew\nline"];
        foreach ($names as $n => $name) {
            $this->buffer->add('texts', ['name' => $name, 'n' => $n]);
        }
        self::assertSucceeded($this->buffer->flush());
        foreach ($names as $n => $name) {
            self::assertEquals($n, Database::value('SELECT n FROM wb_texts WHERE name = ?', [$name]), $name);
            $this->buffer->add('texts', ['name' => $name, 'n' => $n + 100]);
        }
        self::assertSucceeded($this->buffer->flush());
        self::assertCount(count($names), Database::rows('SELECT * FROM wb_texts'));
        self::assertEquals(100, Database::value('SELECT MIN(n) FROM wb_texts'));
        foreach ($names as $name) {
            $this->buffer->delete('texts', $name);
        }
        self::assertSucceeded($this->buffer->flush());
        self::assertSame(0, Database::count('wb_texts'));
    }

    public function testARowLargerThanTheServerTakesIsRefusedWithoutHarm(): void
    {
        $this->buffer->add('kinds', ['id' => 1, 'n' => 1]);
        self::assertSucceeded($this->buffer->flush());
        $limit = Database::isSqlite() ? null : (int) Database::value('SELECT @@max_allowed_packet');
        if ($limit === null || $limit > 100 << 20) {
            $large = str_repeat('x', 40 << 20);
            $this->buffer->add('kinds', ['id' => 2, 'b' => $large]);
            self::assertSucceeded($this->buffer->flush(60_000));
            self::assertEquals(40 << 20, Database::value('SELECT LENGTH(b) FROM wb_kinds WHERE id = 2'));
            return;
        }
        $error = self::thrown(
            WriteBuffer\Exception\InvalidRowException::class,
            fn () => $this->buffer->add('kinds', ['id' => 2, 'b' => str_repeat('x', $limit + 1)])
        );
        self::assertStringContainsString('kinds', $error->getMessage());
        self::assertStringContainsString('max_allowed_packet', $error->getMessage());
        $this->buffer->add('kinds', ['id' => 3, 'n' => 3]);
        self::assertSucceeded($this->buffer->flush());
    }

    public function testManyLargeRowsAreWrittenInPieces(): void
    {
        $buffer = $this->buffer(['tables' => self::TABLES, 'max_pending_bytes' => 512 << 20]);
        for ($id = 1; $id <= 60; $id++) {
            $buffer->add('kinds', ['id' => $id, 'b' => str_repeat("\xff", 1 << 20)]);
        }
        $result = $buffer->flush(120_000);
        self::assertSucceeded($result);
        self::assertEquals(60 << 20, Database::value('SELECT SUM(LENGTH(b)) FROM wb_kinds'));
    }
}
