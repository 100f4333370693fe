<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use PHPUnit\Framework\TestCase;
use WriteBuffer;
use WriteBuffer\Exception\WriteBufferException;
use WriteBuffer\FlushResult;

/**
 * A test with the spot backend's tables, made anew, and buffers that write to them.
 */
abstract class DatabaseTestCase extends TestCase
{
    protected const NEVER_MS = 86_400_000;

    /** @var list<WriteBuffer> */
    private array $buffers = [];
    /** @var list<string> */
    private array $directories = [];

    protected function setUp(): void
    {
        Database::createSpotTables();
    }

    protected function tearDown(): void
    {
        foreach ($this->buffers as $buffer) {
            try {
                $buffer->clear();
                $buffer->close(2_000);
            } catch (WriteBufferException) {
                // Closed by the test itself, or halted.
            }
        }
        $this->buffers = [];
        foreach ($this->directories as $directory) {
            // A writer that is about to end may still have files there.
            for ($i = 0; $i < 200 && is_dir($directory) && !@rmdir($directory); $i++) {
                array_map(static fn (string $file): bool => @unlink($file), glob("$directory/*") ?: []);
                usleep($i * 100);
            }
        }
        $this->directories = [];
    }

    /**
     * A buffer that writes only when it is asked to: neither size nor age makes it. What is
     * refused goes to a directory that is removed when the test ends.
     *
     * @param array<string, mixed> $options
     */
    protected function buffer(array $options = [], int $maxBufferSize = 1_000_000, int $flushIntervalMs = self::NEVER_MS): WriteBuffer
    {
        $options += ['dsn' => Database::dsn(), 'retry_max_ms' => 100, 'journal_dir' => $this->newDirectory()];
        return $this->kept(new WriteBuffer($maxBufferSize, $flushIntervalMs, 3, array_filter($options, static fn ($o) => $o !== null)));
    }

    /**
     * The same, with a connection: its first row, a trade, is in the database already.
     *
     * @param array<string, mixed> $options
     */
    protected function connectedBuffer(array $options = [], int $maxBufferSize = 1_000_000): WriteBuffer
    {
        $buffer = $this->buffer($options, $maxBufferSize);
        $buffer->addTrade(self::trade());
        self::assertSucceeded($buffer->flush());
        return $buffer;
    }

    /**
     * A buffer without a database.
     *
     * @param array<string, mixed> $options
     */
    protected function bufferInMemory(array $options = []): WriteBuffer
    {
        return $this->buffer($options + ['dsn' => null]);
    }

    /** Closed, and its rows discarded, when the test ends. */
    protected function kept(WriteBuffer $buffer): WriteBuffer
    {
        return $this->buffers[] = $buffer;
    }

    /** A path where no directory is yet; removed when the test ends. */
    protected function newDirectory(): string
    {
        return $this->directories[] = sys_get_temp_dir() . '/write-buffer-test-' . bin2hex(random_bytes(6));
    }

    /** Waits, but not for ever, until something is true. */
    protected function eventually(callable $condition, string $what, float $seconds = 15.0): void
    {
        $deadline = hrtime(true) + $seconds * 1e9;
        while (!$condition()) {
            self::assertLessThan($deadline, hrtime(true), "$what: not within $seconds s");
            usleep(5_000);
        }
        $this->addToAssertionCount(1);
    }

    protected static function assertSucceeded(FlushResult $result): void
    {
        self::assertSame([], $result->getErrors());
        self::assertTrue($result->isSuccess());
        self::assertSame(0, $result->getPending());
    }

    protected static function assertDecimal(string $expected, mixed $actual, string $message = ''): void
    {
        self::assertIsString($actual, $message);
        self::assertMatchesRegularExpression('/^-?\d+(\.\d+)?$/', $actual, $message);
        self::assertSame(0, bccomp($expected, $actual, 40), trim("$message expected $expected, found $actual"));
    }

    /**
     * @template E of \Throwable
     * @param class-string<E> $class
     * @return E
     */
    protected static function thrown(string $class, callable $act): \Throwable
    {
        try {
            $act();
        } catch (\Throwable $error) {
            self::assertInstanceOf($class, $error, $error::class . ': ' . $error->getMessage());
            return $error;
        }
        self::fail("$class was not thrown.");
    }

    /**
     * What PHP warns of while something is done.
     *
     * @return list<string> "level: message"
     */
    protected static function warnings(callable $act): array
    {
        $seen = [];
        set_error_handler(static function (int $level, string $message) use (&$seen): bool {
            $seen[] = "$level: $message";
            return true;
        });
        try {
            $act();
        } finally {
            restore_error_handler();
        }
        return $seen;
    }

    /** @return array<string, mixed> */
    protected static function order(string $status = 'new', string $quantity = '10'): array
    {
        return ['user_id' => 7, 'status' => $status, 'quantity' => $quantity];
    }

    /** @return array<string, mixed> */
    protected static function trade(?int $match = null, string $price = '5', string $quantity = '1'): array
    {
        return ['match_id' => $match, 'price' => $price, 'quantity' => $quantity];
    }
}
