<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use Countable;
use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use ReflectionClass;
use ReflectionExtension;
use ReflectionMethod;
use ReflectionNamedType;
use Throwable;
use TypeError;
use WriteBuffer;
use WriteBuffer\Exception\BufferFullException;
use WriteBuffer\Exception\ClosedException;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Exception\ConnectionException;
use WriteBuffer\Exception\InvalidRowException;
use WriteBuffer\Exception\JournalException;
use WriteBuffer\Exception\TransactionException;
use WriteBuffer\Exception\WriteBufferException;
use WriteBuffer\FlushResult;
use WriteBuffer\Tests\Support\Signature;
use WriteBuffer\Tests\Support\Subprocess;
use WriteBuffer\WriteBufferInterface;

/**
 * Names, signatures and PHP's own manners: what the contract fixes.
 */
final class ApiTest extends TestCase
{
    private const INTERFACE = [
        'public function addOrder(int $orderId, array $data): void',
        'public function addTrade(array $data): void',
        'public function addBalanceUpdate(int $userId, string $currency, array $changes): void',
        'public function flush(): WriteBuffer\FlushResult',
        'public function shouldFlush(): bool',
        'public function getStats(): array',
        'public function clear(): void',
    ];

    private const BUFFER = [
        'public function __construct(int $maxBufferSize = 100, int $flushIntervalMs = 500, '
            . 'int $maxRetries = 3, array $options = [])',
        'public static function open(string $name, array $options = []): WriteBuffer',
        'public function add(string $table, array $row): int',
        'public function delete(string $table, array|string|int $key): int',
        'public function beginTransaction(): void',
        'public function commit(): int',
        'public function rollBack(): void',
        'public function transaction(callable $callback): mixed',
        'public function find(string $table, array|string|int $key): ?array',
        'public function count(): int',
        'public function sequence(): int',
        'public function committedSequence(): int',
        'public function waitFor(int $sequence, ?int $timeoutMs = null): bool',
        'public function flush(?int $timeoutMs = null): WriteBuffer\FlushResult',
        'public function close(?int $timeoutMs = null): WriteBuffer\FlushResult',
        'public function dispatch(): int',
        'public function getTimeSinceLastFlush(): float',
        'public function setLastFlushTime(float $timeMs): void',
        'public function addOrder(int $orderId, array $data): void',
        'public function addTrade(array $data): void',
        'public function addBalanceUpdate(int $userId, string $currency, array $changes): void',
        'public function shouldFlush(): bool',
        'public function getStats(): array',
        'public function clear(): void',
    ];

    private const RESULT = [
        'public function __construct(int $ordersWritten = 0, int $tradesWritten = 0, int $balancesWritten = 0, '
            . 'float $durationMs = 0.0, array $errors = [])',
        'public function getOrdersWritten(): int',
        'public function getTradesWritten(): int',
        'public function getBalancesWritten(): int',
        'public function getTotalWritten(): int',
        'public function getDurationMs(): float',
        'public function getErrors(): array',
        'public function isSuccess(): bool',
        'public function toArray(): array',
        'public function getQuarantined(): int',
        'public function getPending(): int',
        'public function getSequence(): int',
        'public static function empty(): WriteBuffer\FlushResult',
        'public static function failed(string $error): WriteBuffer\FlushResult',
    ];

    /** @return iterable<string, array{class-string, string}> */
    public static function signatures(): iterable
    {
        $classes = [
            WriteBufferInterface::class => self::INTERFACE,
            WriteBuffer::class => self::BUFFER,
            FlushResult::class => self::RESULT,
        ];
        foreach ($classes as $class => $signatures) {
            foreach ($signatures as $signature) {
                preg_match('/function (\w+)/', $signature, $name);
                yield "$class::$name[1]" => [$class, $signature];
            }
        }
    }

    /** @dataProvider signatures */
    #[DataProvider('signatures')]
    public function testASignatureIsThatOfTheContract(string $class, string $expected): void
    {
        preg_match('/function (\w+)/', $expected, $name);
        $signature = Signature::of(new ReflectionMethod($class, $name[1]));
        if ($class === WriteBufferInterface::class) {
            $signature = str_replace('abstract ', '', $signature);
        }
        self::assertSame($expected, $signature);
    }

    public function testThereAreNoOtherPublicMethods(): void
    {
        $classes = [
            WriteBufferInterface::class => self::INTERFACE,
            WriteBuffer::class => self::BUFFER,
            FlushResult::class => self::RESULT,
        ];
        foreach ($classes as $class => $signatures) {
            $methods = (new ReflectionClass($class))->getMethods(ReflectionMethod::IS_PUBLIC);
            self::assertCount(count($signatures), $methods, $class);
        }
    }

    public function testClassesAreFinalAndImplementTheirInterfaces(): void
    {
        self::assertTrue((new ReflectionClass(WriteBuffer::class))->isFinal());
        self::assertTrue((new ReflectionClass(FlushResult::class))->isFinal());
        self::assertTrue((new ReflectionClass(WriteBufferInterface::class))->isInterface());
        self::assertTrue(is_subclass_of(WriteBuffer::class, WriteBufferInterface::class));
        self::assertTrue(is_subclass_of(WriteBuffer::class, Countable::class));
    }

    /** @return iterable<string, array{class-string<Throwable>, class-string<Throwable>}> */
    public static function exceptions(): iterable
    {
        yield 'configuration' => [ConfigurationException::class, \InvalidArgumentException::class];
        yield 'invalid row' => [InvalidRowException::class, \InvalidArgumentException::class];
        yield 'full' => [BufferFullException::class, \RuntimeException::class];
        yield 'connection' => [ConnectionException::class, \RuntimeException::class];
        yield 'journal' => [JournalException::class, \RuntimeException::class];
        yield 'closed' => [ClosedException::class, \RuntimeException::class];
        yield 'transaction' => [TransactionException::class, \LogicException::class];
    }

    /**
     * @dataProvider exceptions
     * @param class-string<Throwable> $class
     */
    #[DataProvider('exceptions')]
    public function testAnExceptionExtendsWhatPhpEngineersCatch(string $class, string $parent): void
    {
        self::assertSame($parent, get_parent_class($class));
        self::assertContains(WriteBufferException::class, class_implements($class));
        self::assertTrue((new ReflectionClass(WriteBufferException::class))->isInterface());
        self::assertTrue(is_subclass_of(WriteBufferException::class, Throwable::class));
        $previous = new \Exception();
        $made = new $class('text', 7, $previous);
        self::assertSame(['text', 7, $previous], [$made->getMessage(), $made->getCode(), $made->getPrevious()]);
    }

    public function testTheExtensionHasNoOtherClasses(): void
    {
        $extension = new ReflectionExtension('write_buffer');
        self::assertCount(11, $extension->getClassNames(), implode(', ', $extension->getClassNames()));
        self::assertMatchesRegularExpression('/^\d+\.\d+\.\d+/', (string) $extension->getVersion());
    }

    public function testArgumentsCanBeNamed(): void
    {
        $buffer = new WriteBuffer(maxBufferSize: 10, options: ['flush_interval_ms' => 7_000]);
        self::assertSame(10, $buffer->getStats()['config']['max_buffer_size']);
        $buffer->addBalanceUpdate(changes: ['balance' => '1'], currency: 'usd', userId: 5);
        $buffer->addOrder(data: ['status' => 'new'], orderId: 6);
        self::assertSame(3, $buffer->add(row: ['id' => 7], table: 'orders'));
        self::assertSame(['id' => 7], $buffer->find(key: 7, table: 'orders'));
        self::assertFalse($buffer->waitFor(timeoutMs: 0, sequence: 3));
        $buffer->clear();
    }

    public function testAnUnknownNameOfAnArgumentIsAnError(): void
    {
        $this->expectException(\Error::class);
        $this->expectExceptionMessage('Unknown named parameter $size');
        new WriteBuffer(...['size' => 10]);
    }

    public function testStrictTypesAreTypeErrors(): void
    {
        $buffer = new WriteBuffer();
        $calls = [
            static fn () => new WriteBuffer(maxBufferSize: '10'),
            static fn () => $buffer->addOrder('42', []),
            static fn () => $buffer->addOrder(4.0, []),
            static fn () => $buffer->addOrder(null, []),
            static fn () => $buffer->addTrade('row'),
            static fn () => $buffer->addBalanceUpdate(1, 5, []),
            static fn () => $buffer->add('orders', null),
            static fn () => $buffer->delete('orders', 1.0),
            static fn () => $buffer->delete('orders', null),
            static fn () => $buffer->waitFor('1'),
            static fn () => $buffer->flush('1'),
            static fn () => $buffer->transaction('no such function'),
            static fn () => new FlushResult(durationMs: '1'),
        ];
        foreach ($calls as $at => $call) {
            try {
                $call();
                self::fail("call $at was accepted");
            } catch (TypeError $error) {
                self::assertMatchesRegularExpression('/Argument #\d \(\$\w+\) must be /', $error->getMessage());
            }
        }
        self::assertCount(0, $buffer);
        // An int is a float, in strict mode too.
        $buffer->setLastFlushTime(0);
        self::assertSame(1.0, (new FlushResult(durationMs: 1))->getDurationMs());
    }

    public function testTooFewArgumentsAreAnArgumentCountError(): void
    {
        $this->expectException(\ArgumentCountError::class);
        (new WriteBuffer())->addOrder(...[1]);
    }

    public function testWeakModeCoercesAsPhpDoes(): void
    {
        $child = Subprocess::run(<<<'PHP'
            $buffer = new WriteBuffer(maxBufferSize: "10", flushIntervalMs: 20.0, maxRetries: true);
            echo json_encode(array_slice($buffer->getStats()['config'], 0, 3)), "\n";
            $buffer->addOrder("42", ['status' => 'new']);
            $buffer->addOrder(43.0, ['status' => 'new']);
            $buffer->addOrder(true, ['status' => 'new']);
            $buffer->addBalanceUpdate(" 5", 7, ['balance' => '1']);
            foreach ([42, '43', 1] as $id) echo json_encode($buffer->find('orders', $id)), "\n";
            echo json_encode($buffer->find('balances', ['user_id' => 5, 'currency' => '7'])), "\n";
            foreach (['abc', '4.5x', [], 1e30, NAN, new stdClass] as $bad) {
                try { $buffer->addOrder($bad, []); echo "accepted\n"; } catch (TypeError) { echo "TypeError\n"; }
            }
            set_error_handler(function ($level, $message) { echo "$level\n"; return true; });
            $buffer->addOrder(44.5, ['status' => 'new']);
            $buffer->addOrder(null, ['status' => 'new']);
            echo count($buffer), "\n";
            $buffer->clear();
            PHP);
        self::assertSame(0, $child->exitCode, $child->output());
        self::assertSame(implode("\n", [
            '{"max_buffer_size":10,"flush_interval_ms":20,"max_retries":1}',
            '{"id":42,"status":"new"}', '{"id":43,"status":"new"}', '{"id":1,"status":"new"}',
            '{"user_id":5,"balance":"1"}',
            'TypeError', 'TypeError', 'TypeError', 'TypeError', 'TypeError', 'TypeError',
            (string) E_DEPRECATED, (string) E_DEPRECATED, '6', '',
        ]), $child->stdout(), $child->output());
    }

    public function testABufferIsNeitherClonedNorSerialized(): void
    {
        $buffer = new WriteBuffer();
        foreach ([static fn () => clone $buffer, static fn () => serialize($buffer)] as $act) {
            try {
                $act();
                self::fail('A copy of a buffer was made.');
            } catch (Throwable $error) {
                self::assertStringContainsString('WriteBuffer', $error->getMessage());
            }
        }
        $this->expectException(Throwable::class);
        unserialize('O:11:"WriteBuffer":0:{}');
    }

    public function testAnObjectMadeWithoutItsConstructorDoesNotCrash(): void
    {
        $child = Subprocess::run(<<<'PHP'
            foreach ([WriteBuffer::class, WriteBuffer\FlushResult::class] as $class) {
                try {
                    $made = (new ReflectionClass($class))->newInstanceWithoutConstructor();
                    foreach (get_class_methods($made) as $method) {
                        try { $made->$method(); } catch (Throwable) {}
                    }
                } catch (Throwable) {
                }
            }
            echo 'alive';
            PHP);
        self::assertSame('alive', $child->stdout(), $child->output());
    }

    public function testAResultsErrorsAreStrings(): void
    {
        self::assertSame(['a'], (new FlushResult(errors: ['a']))->getErrors());
        $type = (new ReflectionMethod(FlushResult::class, 'getErrors'))->getReturnType();
        self::assertInstanceOf(ReflectionNamedType::class, $type);
        $result = FlushResult::failed('x');
        self::assertSame([0, 0], [$result->getQuarantined(), $result->getPending()]);
    }
}
