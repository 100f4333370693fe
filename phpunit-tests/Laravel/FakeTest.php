<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel;

use Illuminate\Support\Facades\Event;
use PHPUnit\Framework\AssertionFailedError;
use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Exception\InvalidRowException;
use WriteBuffer\Exception\TransactionException;
use WriteBuffer\Laravel\Drains;
use WriteBuffer\Laravel\Events\BatchCommitted;
use WriteBuffer\Laravel\Facades\WriteBuffer;
use WriteBuffer\Tests\Laravel\Support\LaravelTestCase;
use WriteBuffer\Tests\Laravel\Support\Reports;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\WriteBufferInterface;

/**
 * WriteBuffer::fake(), with the extension and without.
 */
final class FakeTest extends LaravelTestCase
{
    private const TABLES = [
        'write-buffer.sync' => false,
        'write-buffer.buffers.default.tables' => ['sums' => ['mode' => 'delta', 'key' => ['a', 'b'], 'delta' => 'n']],
        'write-buffer.buffers.spot' => [],
    ];

    public function testWhatWasAddedIsSeenAndNothingIsWritten(): void
    {
        $this->boot(self::TABLES);
        WriteBuffer::fake();
        WriteBuffer::assertNothingAdded();
        app(WriteBufferInterface::class)->addOrder(5, ['status' => 'new']);
        WriteBuffer::add('trades', self::trade(1));
        WriteBuffer::buffer('spot')->add('trades', self::trade(2));
        WriteBuffer::assertAdded('orders');
        WriteBuffer::assertAdded('orders', ['id' => 5, 'status' => 'new']);
        WriteBuffer::assertAdded('trades', static fn (array $row, string $buffer): bool => $buffer === 'spot' && $row['match_id'] === 2);
        WriteBuffer::assertNotAdded('balances');
        WriteBuffer::assertNotAdded('orders', ['id' => 6]);
        WriteBuffer::assertAddedTimes('trades', 2);
        WriteBuffer::assertAddedTimes('trades', 1, ['match_id' => 1]);
        self::assertCount(2, WriteBuffer::getFacadeRoot()->added('trades'));
        WriteBuffer::flush();
        WriteBuffer::assertFlushed();
        WriteBuffer::assertFlushed('default');
        self::assertSame(0, Database::count('order_transactions'));
    }

    public function testAmountsAreComparedExactly(): void
    {
        $this->boot(self::TABLES);
        WriteBuffer::fake();
        WriteBuffer::addTrade(['match_id' => 1, 'price' => '0.1', 'quantity' => '100000000000000000001', 'note' => '']);
        foreach ([['price' => '0.10'], ['match_id' => '1'], ['quantity' => '100000000000000000001']] as $same) {
            WriteBuffer::assertAdded('trades', $same);
        }
        foreach ([['price' => '0.10000000000000000001'], ['quantity' => '100000000000000000002'], ['note' => null], ['nothing' => null]] as $other) {
            WriteBuffer::assertNotAdded('trades', $other);
        }
    }

    public function testItsFiguresAreWhereTheOthersHaveThem(): void
    {
        $this->boot(self::TABLES);
        WriteBuffer::fake();
        Event::fake();
        WriteBuffer::addOrder(5, ['status' => 'new']);
        WriteBuffer::flush();
        // Nothing was committed.
        Event::assertNotDispatched(BatchCommitted::class);
        WriteBuffer::addOrder(6, ['status' => 'new']);
        WriteBuffer::add('sums', ['a' => 1, 'b' => 2, 'n' => 3]);
        $stats = WriteBuffer::getStats();
        self::assertSame(['orders' => 1, 'trades' => 0, 'balances' => 0, 'total' => 2], $stats['buffer']);
        self::assertSame([2, 1, 0], [$stats['tables']['orders']['accepted'], $stats['totals']['orders_written'], $stats['tables']['sums']['committed']]);
        self::assertSame([3, 1, 2], [$stats['sequence'], $stats['committed_sequence'], $stats['pending']['rows']]);
    }

    /** @return iterable<string, array{callable(): void}> */
    public static function wrongAssertions(): iterable
    {
        yield 'assertAdded' => [static fn () => WriteBuffer::assertAdded('orders')];
        yield 'assertAdded with columns' => [static fn () => WriteBuffer::assertAdded('trades', ['match_id' => 9])];
        yield 'assertNotAdded' => [static fn () => WriteBuffer::assertNotAdded('trades')];
        yield 'assertAddedTimes' => [static fn () => WriteBuffer::assertAddedTimes('trades', 2)];
        yield 'assertFlushed' => [static fn () => WriteBuffer::assertFlushed()];
        yield 'assertFlushed of one' => [static fn () => WriteBuffer::assertFlushed('spot')];
        yield 'assertNothingAdded' => [static fn () => WriteBuffer::assertNothingAdded()];
        yield 'assertDeleted' => [static fn () => WriteBuffer::getFacadeRoot()->assertDeleted('orders', 2)];
    }

    /**
     * @dataProvider wrongAssertions
     * @param callable(): void $assert
     */
    #[DataProvider('wrongAssertions')]
    public function testAnAssertionThatIsWrongFails(callable $assert): void
    {
        $this->boot(self::TABLES);
        WriteBuffer::fake();
        WriteBuffer::add('trades', self::trade(1));
        WriteBuffer::delete('orders', 1);
        self::thrown(AssertionFailedError::class, $assert);
    }

    public function testRowsAreCheckedAsTheExtensionDoes(): void
    {
        $this->boot(self::TABLES);
        WriteBuffer::fake();
        foreach ([['nowhere', ['a' => 1]], ['orders', ['status' => 'new']], ['sums', ['a' => 1, 'b' => 2, 'n' => 1.5]], ['trades', ['a b' => 1]]] as [$table, $row]) {
            self::thrown(InvalidRowException::class, static fn () => WriteBuffer::add($table, $row));
        }
        self::thrown(ConfigurationException::class, static fn () => WriteBuffer::buffer('nowhere'));
        WriteBuffer::assertNothingAdded();
    }

    public function testATransactionThatIsRolledBackAddsNothing(): void
    {
        $this->boot(self::TABLES);
        WriteBuffer::fake();
        self::thrown(\RuntimeException::class, static fn () => WriteBuffer::transaction(static function ($buffer): void {
            $buffer->addTrade(self::trade(1));
            throw new \RuntimeException('no');
        }));
        WriteBuffer::assertNothingAdded();
        WriteBuffer::transaction(static fn ($buffer) => $buffer->addTrade(self::trade(2)));
        WriteBuffer::assertAddedTimes('trades', 1, ['match_id' => 2]);
        self::thrown(TransactionException::class, static fn () => WriteBuffer::buffer()->commit());
    }

    public function testFindGivesWhatIsPending(): void
    {
        $this->boot(self::TABLES);
        $fake = WriteBuffer::fake();
        self::assertNull(WriteBuffer::find('sums', ['a' => 1, 'b' => 2]));
        WriteBuffer::add('sums', ['a' => 1, 'b' => 2, 'n' => '0.1', 'note' => 'x']);
        WriteBuffer::add('sums', ['a' => 1, 'b' => '2', 'n' => '0.2', 'note' => 'y']);
        WriteBuffer::add('sums', ['a' => 1, 'b' => 3, 'n' => 9]);
        $found = WriteBuffer::find('sums', ['a' => 1, 'b' => 2]);
        self::assertEquals(['a' => 1, 'b' => 2, 'n' => '0.3', 'note' => 'y'], $found);
        WriteBuffer::flush();
        self::assertNull(WriteBuffer::find('sums', ['a' => 1, 'b' => 2]));
        WriteBuffer::delete('orders', 7);
        self::assertSame([], WriteBuffer::find('orders', 7));
        $fake->assertDeleted('orders', 7);
    }

    public function testDrainsFlushTheFakeAndRollBackWhatWasForgotten(): void
    {
        $reports = Reports::of($this->boot(self::TABLES));
        $fake = WriteBuffer::fake();
        WriteBuffer::buffer()->beginTransaction();
        WriteBuffer::add('trades', self::trade(1));
        foreach (['Laravel\Octane\Events\RequestTerminated', 'Laravel\Octane\Events\TickTerminated'] as $event) {
            event($event, [new \stdClass()]);
        }
        self::assertStringContainsString('still open at octane_request', $reports->reported[0]->getMessage());
        self::assertSame(0, $fake->flushes());
        WriteBuffer::add('trades', self::trade(2));
        event('Laravel\Octane\Events\WorkerStopping', [new \stdClass()]);
        self::assertSame(1, $fake->flushes());
        config(['write-buffer.drain.horizon' => 10]);
        WriteBuffer::add('trades', self::trade(3));
        event('Laravel\Horizon\Events\SupervisorLooped', [new \stdClass()]);
        self::assertSame(2, $fake->flushes());
        WriteBuffer::add('trades', self::trade(4));
        app()->terminate();
        self::assertSame(3, $fake->flushes());
        Drains::at('terminating');
        self::assertSame(3, $fake->flushes());
    }
}
