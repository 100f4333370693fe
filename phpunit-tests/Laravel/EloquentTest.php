<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel;

use App\Models\Position;
use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer\Exception\InvalidRowException;
use WriteBuffer\Exception\WriteBufferException;
use WriteBuffer\Laravel\Facades\WriteBuffer;
use WriteBuffer\Tests\Laravel\Support\LaravelTestCase;
use WriteBuffer\Tests\Support\Database;

/**
 * Models whose rows go through a buffer: the native one, and the one that writes at once.
 */
final class EloquentTest extends LaravelTestCase
{
    protected function setUp(): void
    {
        parent::setUp();
        Database::create('wb_positions', 'id INT PRIMARY KEY, size ' . Database::money() . ' NOT NULL, status VARCHAR(20) NULL, tags VARCHAR(100) NULL,
            opened_at VARCHAR(30) NULL, created_at VARCHAR(30) NULL, updated_at VARCHAR(30) NULL');
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        Database::drop('wb_positions');
    }

    /** @return iterable<string, array{bool}> */
    public static function buffers(): iterable
    {
        yield 'native' => [false];
        yield 'sync' => [true];
    }

    /**
     * @dataProvider buffers
     */
    #[DataProvider('buffers')]
    public function testAModelIsInsertedAndThenItsChangesWritten(bool $sync): void
    {
        $this->declare(['mode' => 'upsert', 'key' => 'id'], $sync);
        $position = new Position(['id' => 1, 'size' => '1.5', 'status' => 'new', 'tags' => ['a' => 1], 'opened_at' => '2026-01-02 03:04:05']);
        self::assertSame(1, $position->saveBuffered());
        self::assertTrue($position->exists && $position->wasRecentlyCreated);
        self::assertNull($position->saveBuffered());
        $position->status = 'open';
        self::assertSame(2, $position->saveBuffered());
        self::assertSucceeded(WriteBuffer::flush());
        $row = Database::rows('SELECT * FROM wb_positions')[0];
        self::assertSame(['open', '{"a":1}', '2026-01-02 03:04:05'], [$row['status'], $row['tags'], $row['opened_at']]);
        self::assertNotNull($row['created_at']);
        $found = Position::query()->findOrFail(1);
        self::assertSame(['a' => 1], $found->tags);
        $found->tags = null;
        $found->saveBuffered();
        self::assertSucceeded(WriteBuffer::flush());
        self::assertNull(Database::value('SELECT tags FROM wb_positions'));
    }

    /**
     * @dataProvider buffers
     */
    #[DataProvider('buffers')]
    public function testAmountsAreAddedExactly(bool $sync): void
    {
        $this->declare(['mode' => 'delta', 'key' => 'id', 'delta' => ['size']], $sync);
        Database::execute("INSERT INTO wb_positions (id, size) VALUES (1, '100.000000000000000001')");
        $position = Position::query()->findOrFail(1);
        $position->incrementBuffered('size', '0.000000000000000002', ['status' => 'open']);
        $position->decrementBuffered('size', '1e-1');
        $position->decrementBuffered('size', '-1');
        self::assertDecimal('100.900000000000000003', (string) $position->size);
        self::assertFalse($position->isDirty());
        self::assertSucceeded(WriteBuffer::flush());
        $row = Database::rows('SELECT * FROM wb_positions')[0];
        self::assertDecimal('100.900000000000000003', $row['size']);
        self::assertSame('open', $row['status']);
        self::assertNotNull($row['updated_at']);
        $position->size = '7';
        $error = self::thrown(InvalidRowException::class, static fn () => $position->saveBuffered());
        self::assertStringContainsString('use incrementBuffered()', $error->getMessage());
    }

    /**
     * @dataProvider buffers
     */
    #[DataProvider('buffers')]
    public function testRowsAreInsertedAsOneGroupWithCastsAndTimestamps(bool $sync): void
    {
        $this->declare(['mode' => 'insert'], $sync);
        self::assertSame(2, Position::insertBuffered([['id' => 1, 'size' => '1', 'tags' => ['x']], ['id' => 2, 'size' => 2]]));
        self::assertSame(2, Position::insertBuffered([]));
        self::thrown(WriteBufferException::class, static fn () => Position::insertBuffered([['id' => 3, 'size' => 1], ['id' => 4, 'size' => NAN]]));
        self::assertSucceeded(WriteBuffer::flush());
        $rows = Database::rows('SELECT id, tags, created_at FROM wb_positions ORDER BY id');
        self::assertEquals([[1, '["x"]'], [2, null]], array_map(static fn (array $row): array => [$row['id'], $row['tags']], $rows));
        self::assertNotNull($rows[1]['created_at']);
    }

    /**
     * @dataProvider buffers
     */
    #[DataProvider('buffers')]
    public function testInsertedRowsBelongToTheGroupThatIsOpen(bool $sync): void
    {
        $this->declare(['mode' => 'insert'], $sync);
        self::thrown(\LogicException::class, static fn () => WriteBuffer::transaction(static function (): void {
            Position::insertBuffered([['id' => 1, 'size' => '1']]);
            throw new \LogicException('the group is not committed');
        }));
        WriteBuffer::transaction(static function (): void {
            Position::insertBuffered([['id' => 2, 'size' => '1'], ['id' => 3, 'size' => '1']]);
            self::thrown(WriteBufferException::class, static fn () => Position::insertBuffered([['id' => 4, 'size' => '1'], ['id' => 5, 'size' => NAN]]));
        });
        self::assertSucceeded(WriteBuffer::flush());
        self::assertEquals([2, 3], array_column(Database::rows('SELECT id FROM wb_positions ORDER BY id'), 'id'));
    }

    /** @return iterable<string, array{array<string, mixed>|null, callable(Position): mixed, string}> */
    public static function mistakes(): iterable
    {
        $upsert = ['mode' => 'upsert', 'key' => 'id'];
        yield 'not declared' => [null, static fn (Position $p) => $p->saveBuffered(), 'Table "wb_positions" is not declared'];
        yield 'an existing row, inserted' => [['mode' => 'insert'], static fn (Position $p) => $p->fill(['status' => 'x'])->saveBuffered(), 'has the mode insert'];
        yield 'no sum' => [$upsert, static fn (Position $p) => $p->incrementBuffered('size'), "list it under 'delta'"];
        yield 'another key' => [$upsert, static fn (Position $p) => $p->fill(['id' => 2])->saveBuffered(), 'the key of a row that exists has changed'];
        yield 'another connection' => [$upsert, static fn (Position $p) => $p->setConnection('queue')->fill(['status' => 'x'])->saveBuffered(), 'uses the connection [queue]'];
        yield 'no amount' => [['delta' => 'size', 'mode' => 'delta'] + $upsert, static fn (Position $p) => $p->incrementBuffered('size', 'many'), 'is no amount'];
        // As a file without strict_types calls it: PHP makes an int 2 of the float.
        yield 'a float' => [['delta' => 'size', 'mode' => 'delta'] + $upsert, static fn (Position $p) => call_user_func([$p, 'incrementBuffered'], 'size', 2.5), 'the float "2.5" is no amount'];
        yield 'a float less' => [['delta' => 'size', 'mode' => 'delta'] + $upsert, static fn (Position $p) => call_user_func([$p, 'decrementBuffered'], 'size', 2.0), 'the float "2" is no amount'];
        yield 'no amount less' => [['delta' => 'size', 'mode' => 'delta'] + $upsert, static fn (Position $p) => $p->decrementBuffered('size', ''), 'is no amount'];
        yield 'no key' => [$upsert, static fn () => (new Position(['size' => 1]))->saveBuffered(), 'no key'];
    }

    /**
     * @dataProvider mistakes
     * @param array<string, mixed>|null $declaration
     * @param callable(Position): mixed $act
     */
    #[DataProvider('mistakes')]
    public function testAMistakeIsSaidAndNothingIsAdded(?array $declaration, callable $act, string $expected): void
    {
        $this->declare($declaration, true);
        Database::execute("INSERT INTO wb_positions (id, size) VALUES (1, '1')");
        $position = Position::query()->findOrFail(1);
        $error = self::thrown(WriteBufferException::class, static fn () => $act($position));
        self::assertStringContainsString($expected, $error->getMessage());
        self::assertSame(1, Database::count('wb_positions'));
    }

    public function testARowWhoseKeyTheDatabaseMakesIsAddedOnce(): void
    {
        $this->declare(['mode' => 'insert'], true);
        Database::create('wb_positions', 'id ' . (Database::isSqlite() ? 'INTEGER PRIMARY KEY' : 'INT PRIMARY KEY AUTO_INCREMENT')
            . ', size VARCHAR(20), created_at VARCHAR(30), updated_at VARCHAR(30)');
        $position = new Position(['size' => '1']);
        $position->saveBuffered();
        $position->size = '2';
        $error = self::thrown(InvalidRowException::class, static fn () => $position->saveBuffered());
        self::assertStringContainsString('was added before', $error->getMessage());
        self::assertSame(1, Database::count('wb_positions'));
    }

    public function testAKeyOfAnotherFieldNameAndATimestampOfNone(): void
    {
        $this->declare(['mode' => 'upsert', 'key' => ['position' => 'id']], true);
        $position = new Position(['id' => 3, 'size' => '1']);
        $position->timestamps = false;
        $position->saveBuffered();
        self::assertEquals([['id' => 3, 'created_at' => null]], Database::rows('SELECT id, created_at FROM wb_positions'));
    }

    /** @param array<string, mixed>|null $declaration */
    private function declare(?array $declaration, bool $sync): void
    {
        if (!$sync) {
            self::needsExtension();
        }
        $this->boot(['write-buffer.sync' => $sync, 'write-buffer.buffers.default.tables' => $declaration === null ? [] : ['wb_positions' => $declaration]] + self::LAZY);
    }
}
