<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Testing;

use Illuminate\Container\Container;
use PHPUnit\Framework\Assert;
use WriteBuffer\Laravel\Buffer;
use WriteBuffer\Laravel\BufferSettings;
use WriteBuffer\Laravel\Contracts\Buffers;
use WriteBuffer\Sync\Decimal;

/**
 * What WriteBuffer::fake() puts in the place of all buffers. Rows are checked against the
 * configured declarations; nothing is written. It needs neither database nor extension.
 *
 * @mixin Buffer
 */
final class BuffersFake implements Buffers
{
    /** @var array<string, RecordingBuffer> */
    private array $recordings = [];
    /** @var array<string, Buffer> */
    private array $opened = [];

    public function buffer(?string $name = null): Buffer
    {
        $settings = $this->settings($name);
        $recording = $this->recordings[$settings->name] ??= new RecordingBuffer($settings->declarations());
        return $this->opened[$settings->name] ??= new Buffer($settings->name, $recording);
    }

    public function opened(): array
    {
        return $this->opened;
    }

    public function settings(?string $name = null): BufferSettings
    {
        return BufferSettings::of($name, Container::getInstance()->make('config'));
    }

    public function metrics(): string
    {
        return '';
    }

    /**
     * The rows added to a table, of all buffers.
     *
     * @param callable(array<string, mixed>, string): bool|array<string, mixed>|null $match given row and buffer's name; or columns to have
     * @return list<array<string, mixed>>
     */
    public function added(string $table, callable|array|null $match = null): array
    {
        $found = [];
        foreach ($this->recordings as $name => $recording) {
            foreach ($recording->recorded() as $recorded) {
                if ($recorded->table === $table && !$recorded->isDelete && self::matches($match, $recorded->row, (string) $name)) {
                    $found[] = $recorded->row;
                }
            }
        }
        return $found;
    }

    /** @param callable|array<string, mixed>|null $match see added() */
    public function assertAdded(string $table, callable|array|null $match = null): void
    {
        Assert::assertNotSame([], $this->added($table, $match), "No such row was added to \"$table\". Added were: " . $this->shown());
    }

    /** @param callable|array<string, mixed>|null $match see added() */
    public function assertNotAdded(string $table, callable|array|null $match = null): void
    {
        Assert::assertSame([], $this->added($table, $match), "A row was added to \"$table\" that should not have been.");
    }

    /** @param callable|array<string, mixed>|null $match see added() */
    public function assertAddedTimes(string $table, int $times = 1, callable|array|null $match = null): void
    {
        Assert::assertCount($times, $this->added($table, $match), "Another number of such rows was added to \"$table\". Added were: " . $this->shown());
    }

    /** @param int|string|array<string, mixed> $key */
    public function assertDeleted(string $table, int|string|array $key): void
    {
        $isIt = false;
        foreach ($this->recordings as $name => $recording) {
            $identity = $this->settings((string) $name)->declarations()->table($table)->named($key)->identity();
            foreach ($recording->recorded() as $recorded) {
                $isIt = $isIt || ($recorded->table === $table && $recorded->isDelete && $recorded->checked->identity() === $identity);
            }
        }
        Assert::assertTrue($isIt, "That row of \"$table\" was not deleted.");
    }

    /** @param string|null $buffer null: all */
    public function flushes(?string $buffer = null): int
    {
        $flushes = array_map(static fn (RecordingBuffer $recording): int => $recording->flushes(), $this->recordings);
        return $buffer === null ? array_sum($flushes) : $flushes[$buffer] ?? 0;
    }

    /** @param string|null $buffer null: any */
    public function assertFlushed(?string $buffer = null): void
    {
        Assert::assertGreaterThan(0, $this->flushes($buffer), $buffer === null ? 'No buffer was flushed.' : "Buffer \"$buffer\" was not flushed.");
    }

    public function assertNothingAdded(): void
    {
        Assert::assertSame('nothing', $this->shown(), 'Rows were added or deleted.');
    }

    /** @param array<mixed> $arguments */
    public function __call(string $method, array $arguments): mixed
    {
        return $this->buffer()->$method(...$arguments);
    }

    private function shown(): string
    {
        $rows = [];
        foreach ($this->recordings as $name => $recording) {
            foreach ($recording->recorded() as $recorded) {
                $rows[] = "$name: $recorded->table" . ($recorded->isDelete ? ' without ' : ' ')
                    . json_encode($recorded->row, JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE);
            }
        }
        return $rows === [] ? 'nothing' : implode("\n", $rows);
    }

    /** @param array<string, mixed> $row */
    private static function matches(callable|array|null $match, array $row, string $buffer): bool
    {
        return match (true) {
            $match === null => true,
            is_callable($match) => (bool) $match($row, $buffer),
            default => self::hasAll($row, $match),
        };
    }

    /**
     * @param array<string, mixed> $row
     * @param array<string, mixed> $columns
     */
    private static function hasAll(array $row, array $columns): bool
    {
        foreach ($columns as $column => $value) {
            if (!array_key_exists($column, $row) || !self::isSame($row[$column], $value)) {
                return false;
            }
        }
        return true;
    }

    /** 5 is '5' and '0.10' is '0.1', but never by way of a float, which cannot tell long amounts apart. */
    private static function isSame(mixed $given, mixed $expected): bool
    {
        if ((is_int($given) || is_string($given)) && (is_int($expected) || is_string($expected))) {
            $plain = Decimal::plain((string) $given);
            return (string) $given === (string) $expected || ($plain !== null && $plain === Decimal::plain((string) $expected));
        }
        return $given === null || $expected === null ? $given === $expected : $given == $expected;
    }
}
