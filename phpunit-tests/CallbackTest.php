<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use LogicException;
use PHPUnit\Framework\Attributes\DataProvider;
use RuntimeException;
use WeakReference;
use WriteBuffer;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * on_quarantine: each group in quarantine is told once, on PHP's thread, where the caller waits anyway.
 */
final class CallbackTest extends DatabaseTestCase
{
    /** @var list<array<string, mixed>> */
    private array $told = [];

    public function testAGroupIsToldAsItsLineInTheFileSays(): void
    {
        $directory = $this->newDirectory();
        $buffer = $this->listening(['journal_dir' => $directory, 'name' => 'spot']);
        $buffer->addOrder(1, self::order());
        $buffer->transaction(static function (WriteBuffer $buffer): void {
            $buffer->addTrade(['match_id' => 7, 'price' => null, 'quantity' => '0.10']);
            $buffer->addOrder(2, self::order("quote \""));
        });
        $buffer->addOrder(2, self::order());
        $buffer->flush();
        $lines = array_map(
            static fn (string $line): array => json_decode($line, true, flags: JSON_THROW_ON_ERROR),
            file("$directory/spot.quarantine.jsonl") ?: []
        );
        self::assertCount(2, $lines);
        self::assertEquals([
            $lines[0] + ['follower' => false, 'missed' => 0],
            $lines[1] + ['follower' => true, 'missed' => 0],
        ], $this->told);
        self::assertSame([2, 3], [$this->told[0]['first'], $this->told[0]['last']]);
        self::assertSame('quote "', $this->told[0]['rows'][1]['row']['status']);
        self::assertStringContainsString('price', $this->told[0]['reason']);
        $buffer->flush();
        self::assertCount(2, $this->told, 'once');
    }

    /** @return iterable<string, array{string}> */
    public static function places(): iterable
    {
        yield 'flush' => ['flush'];
        yield 'close' => ['close'];
        yield 'dispatch' => ['dispatch'];
        yield 'waitFor' => ['waitFor'];
    }

    /** @dataProvider places */
    #[DataProvider('places')]
    public function testItIsCalledWhereTheCallerWaitsAndNowhereElse(string $method): void
    {
        $buffer = $this->listening([], 1);
        $buffer->addOrder(1, self::refused());
        $this->eventually(static fn (): bool => $buffer->committedSequence() === 1, 'the quarantine');
        $buffer->addOrder(2, self::order());
        $buffer->find('orders', 2);
        $buffer->getStats();
        $buffer->shouldFlush();
        self::assertLessThanOrEqual(1, count($buffer));
        self::assertSame([], $this->told);
        $returned = $buffer->$method(...($method === 'waitFor' ? [1] : []));
        self::assertCount(1, $this->told);
        if ($method === 'dispatch') {
            self::assertSame(1, $returned);
            self::assertSame(0, $buffer->dispatch());
        }
    }

    public function testWhatItThrowsComesThroughAndNothingIsLost(): void
    {
        $thrower = function (array $group): void {
            $this->told[] = $group;
            throw new LogicException("group {$group['first']}");
        };
        $buffer = $this->buffer(['on_quarantine' => $thrower]);
        $buffer->addOrder(1, self::refused());
        $buffer->addOrder(2, self::refused());
        $buffer->addOrder(3, self::order());
        self::assertSame('group 1', self::thrown(LogicException::class, static fn () => $buffer->flush())->getMessage());
        self::assertSame('group 2', self::thrown(LogicException::class, static fn () => $buffer->waitFor(3))->getMessage());
        $result = $buffer->flush();
        self::assertSame([2, 1, 0], [$result->getQuarantined(), $result->getOrdersWritten(), $result->getPending()]);
        self::assertCount(2, $result->getErrors());
        self::assertSame(1, Database::count('orders'));
        $buffer->addOrder(4, self::refused());
        $buffer->addOrder(5, self::order());
        self::assertSame('group 4', self::thrown(LogicException::class, static fn () => $buffer->close())->getMessage());
        self::assertSame(2, Database::count('orders'));
        self::thrown(WriteBuffer\Exception\ClosedException::class, static fn () => $buffer->addOrder(6, self::order()));
        self::assertCount(3, $this->told);
    }

    public function testItMayUseTheBufferAndIsNotCalledWithinItself(): void
    {
        $depth = 0;
        $correct = function (array $group) use (&$buffer, &$depth): void {
            self::assertSame(1, ++$depth);
            $this->told[] = $group;
            $buffer->addOrder($group['rows'][0]['row']['id'] + 10, self::order());
            $buffer->addOrder(100 + count($this->told), self::refused());
            $buffer->flush();
            self::assertSame(0, $buffer->dispatch());
            $depth--;
        };
        $buffer = $this->buffer(['on_quarantine' => $correct]);
        $buffer->addOrder(1, self::refused());
        $buffer->addOrder(2, self::refused());
        $buffer->flush();
        self::assertCount(2, $this->told, 'those of the callback are told the next time');
        self::assertSame([11, 12], array_map('intval', array_column(Database::rows('SELECT id FROM orders ORDER BY id'), 'id')));
        self::assertSame(2, $buffer->dispatch());
        $ids = array_map(static fn (array $group): int => $group['rows'][0]['row']['id'], array_slice($this->told, 2));
        self::assertSame([101, 102], $ids);
    }

    public function testANamedBufferTellsWhoeverComesNextAndTheCallableIsNoOptionOfTheBuffer(): void
    {
        $options = ['dsn' => Database::dsn(), 'journal_dir' => $this->newDirectory(), 'max_buffer_size' => 1];
        $name = 'told-' . bin2hex(random_bytes(4));
        $tell = fn (array $group) => $this->told[] = $group;
        $first = $this->kept(WriteBuffer::open($name, $options + ['on_quarantine' => $tell]));
        $silent = WriteBuffer::open($name, $options);
        unset($first);
        $silent->addOrder(1, self::refused());
        $silent->flush();
        self::assertSame([0, []], [$silent->dispatch(), $this->told]);
        $second = WriteBuffer::open($name, ['on_quarantine' => $tell]);
        self::assertSame(1, $second->dispatch());
        $third = WriteBuffer::open($name, $options + ['on_quarantine' => $tell]);
        self::assertSame(0, $third->dispatch());
        self::assertCount(1, $this->told);
        $third->close();
    }

    public function testAtTheBoundTheFirstAreToldAndTheOthersCounted(): void
    {
        $buffer = $this->listening();
        $buffer->addOrder(1, self::refused());
        $buffer->flush();
        for ($n = 0; $n < 1_500; $n++) {
            $buffer->addOrder(1, self::order());
        }
        self::assertSame(1_500, $buffer->flush(30_000)->getQuarantined());
        self::assertSame(1_501, count($this->told) + array_sum(array_column($this->told, 'missed')));
        self::assertSame([false, true], [$this->told[0]['follower'], $this->told[1]['follower']]);
        self::assertCount(501, $this->told);
    }

    public function testWhatDeadWritersLeftIsToldToo(): void
    {
        $directory = $this->newDirectory();
        $child = Subprocess::start(<<<'PHP'
            $buffer = WriteBuffer::open('spot', ['flush_interval_ms' => 86_400_000, 'max_buffer_size' => 1000,
                'journal' => 'process', 'journal_dir' => getenv('JOURNALS')] + $options);
            $buffer->addOrder(1, ['user_id' => null, 'status' => 'new', 'quantity' => '1']);
            echo 'added';
            sleep(60);
            PHP, ['JOURNALS' => $directory]);
        $child->waitFor('added')->kill(SIGKILL)->wait();
        $buffer = $this->listening(['name' => 'spot', 'journal' => 'process', 'journal_dir' => $directory]);
        $buffer->flush();
        self::assertSame([1], array_column($this->told, 'first'));
        self::assertSame(1, $this->told[0]['rows'][0]['row']['id']);
    }

    public function testACallableIsCheckedWhereItIsGiven(): void
    {
        foreach ([5, 'no_such_function', [$this, 'none'], ['a' => 1]] as $wrong) {
            $error = self::thrown(ConfigurationException::class, fn () => $this->buffer(['on_quarantine' => $wrong]));
            self::assertStringContainsString('"on_quarantine"', $error->getMessage());
            self::thrown(ConfigurationException::class, static fn () => WriteBuffer::open('never', ['on_quarantine' => $wrong]));
        }
        // A private method can be called from here, and not from where flush() is called.
        $options = ['dsn' => Database::dsn(), 'journal_dir' => $this->newDirectory(), 'on_quarantine' => [$this, 'remember']];
        $buffer = $this->kept(new WriteBuffer(options: $options));
        $buffer->addOrder(1, self::refused());
        (static fn () => $buffer->flush())->bindTo(null, null)();
        self::assertCount(1, $this->told);
        self::assertSame(0, $this->buffer(['on_quarantine' => null])->dispatch());
        self::assertSame(0, $this->buffer()->dispatch());
    }

    public function testACycleThroughTheCallableIsCollected(): void
    {
        $owner = new class {
            public ?WriteBuffer $buffer = null;

            public function open(): void
            {
                $this->buffer = new WriteBuffer(options: ['on_quarantine' => fn () => $this->buffer]);
            }
        };
        $owner->open();
        $seen = [WeakReference::create($owner), WeakReference::create($owner->buffer ?? new RuntimeException())];
        unset($owner);
        gc_collect_cycles();
        self::assertSame([null, null], array_map(static fn (WeakReference $r): ?object => $r->get(), $seen));
    }

    /** @return iterable<string, array{string}> */
    public static function ends(): iterable
    {
        yield 'the last line' => [''];
        yield 'exit' => ['exit(0);'];
        yield 'a fatal error' => ['ini_set("display_errors", "0"); undefined_function();'];
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testAtTheEndOfAScriptAShutdownFunctionIsTheLastToBeTold(string $end): void
    {
        $child = Subprocess::run(<<<'PHP'
            $tell = function (array $group): void { echo "told $group[first]"; };
            $buffer = new WriteBuffer(1_000_000, 86_400_000, 3, $options + ['on_quarantine' => $tell]);
            register_shutdown_function($buffer->close(...));
            $buffer->addOrder(7, ['user_id' => null, 'status' => 'new', 'quantity' => '1']);
            PHP . "\n$end");
        self::assertStringContainsString('told 1', $child->stdout(), $child->output());
    }

    /** @return iterable<string, array{string, int}> */
    public static function deaths(): iterable
    {
        yield 'exit' => ['exit(7);', 7];
        yield 'the memory limit' => ['ini_set("display_errors", "0"); ini_set("memory_limit", "64M"); str_repeat("x", 1 << 30);', 255];
        yield 'an exception that nobody catches' => ['ini_set("display_errors", "0"); throw new Error();', 255];
    }

    /** @dataProvider deaths */
    #[DataProvider('deaths')]
    public function testAScriptThatEndsInTheCallableEndsOrderly(string $death, int $code): void
    {
        $child = Subprocess::run(str_replace('DEATH', $death, <<<'PHP'
            $end = function (array $group) use (&$buffer): void {
                $buffer->addTrade(trade(2));
                DEATH
            };
            $buffer = new WriteBuffer(1_000_000, 86_400_000, 3, $options + ['on_quarantine' => $end, 'journal_dir' => getenv('JOURNALS')]);
            $buffer->addTrade(trade(1));
            $buffer->addOrder(7, ['user_id' => null, 'status' => 'new', 'quantity' => '1']);
            $buffer->flush();
            echo 'not reached';
            PHP), ['JOURNALS' => $this->newDirectory()]);
        self::assertSame([$code, null, ''], [$child->exitCode, $child->signal, $child->stdout()], $child->output());
        self::assertSame(2, Database::count('order_transactions'));
    }

    public function testAForkedChildIsNotToldOfItsParentsRows(): void
    {
        $child = Subprocess::run(<<<'PHP'
            $tell = function (array $group): void { echo getmypid() === $GLOBALS['parent'] ? 'parent' : 'child', $group['rows'][0]['row']['id'], ' '; };
            $parent = getmypid();
            $fork = function (array $group) use ($tell): void {
                $tell($group);
                if ($group['rows'][0]['row']['id'] === 1) {
                    $GLOBALS['pid'] = pcntl_fork();
                    if ($GLOBALS['pid'] > 0) {
                        pcntl_waitpid($GLOBALS['pid'], $status);
                    }
                }
            };
            $refused = ['user_id' => null, 'status' => 'new', 'quantity' => '1'];
            $buffer = new WriteBuffer(1_000_000, 86_400_000, 3, $options + ['on_quarantine' => $fork]);
            $buffer->addOrder(1, $refused);
            $buffer->addOrder(2, $refused);
            $buffer->waitFor(2, 0);
            while ($buffer->committedSequence() < 2) { usleep(1000); }
            $result = $buffer->flush();
            if (getmypid() !== $parent) {
                echo json_encode([$result->getQuarantined(), $buffer->dispatch()]), ' ';
                $buffer->addOrder(3, $refused);
                echo $buffer->close()->getQuarantined(), ' ';
                exit;
            }
            echo $result->getQuarantined(), $buffer->dispatch();
            PHP);
        self::assertSame([0, 'parent1 [0,0] child3 1 parent2 20'], [$child->exitCode, $child->stdout()], $child->output());
    }

    /** @param array<string, mixed> $options */
    private function listening(array $options = [], int $maxBufferSize = 1_000_000): WriteBuffer
    {
        return $this->buffer(['on_quarantine' => $this->remember(...)] + $options, $maxBufferSize);
    }

    /** @param array<string, mixed> $group */
    private function remember(array $group): void
    {
        $this->told[] = $group;
    }

    /** @return array<string, mixed> */
    private static function refused(): array
    {
        return ['user_id' => null] + self::order();
    }
}
