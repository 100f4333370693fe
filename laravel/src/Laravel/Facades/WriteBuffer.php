<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Facades;

use Illuminate\Support\Facades\Facade;
use WriteBuffer\Laravel\Contracts\Buffers;
use WriteBuffer\Laravel\Testing\BuffersFake;

/**
 * There is no alias `WriteBuffer` for it: that is the extension's own class.
 *
 * @method static \WriteBuffer\Laravel\Buffer buffer(?string $name = null)
 * @method static array<string, \WriteBuffer\Laravel\Buffer> opened()
 * @method static \WriteBuffer\Laravel\BufferSettings settings(?string $name = null)
 * @method static string metrics()
 * @method static int add(string $table, array<string, mixed> $row)
 * @method static int delete(string $table, int|string|array<string, mixed> $key)
 * @method static void addOrder(int $orderId, array<string, mixed> $data)
 * @method static void addTrade(array<string, mixed> $data)
 * @method static void addBalanceUpdate(int $userId, string $currency, array<string, mixed> $changes)
 * @method static void beginTransaction()
 * @method static int commit()
 * @method static void rollBack()
 * @method static mixed transaction(callable $callback)
 * @method static array<string, mixed>|null find(string $table, int|string|array<string, mixed> $key)
 * @method static int count()
 * @method static int sequence()
 * @method static int committedSequence()
 * @method static bool waitFor(int $sequence, ?int $timeoutMs = null)
 * @method static \WriteBuffer\FlushResult flush(?int $timeoutMs = null)
 * @method static \WriteBuffer\FlushResult close(?int $timeoutMs = null)
 * @method static bool shouldFlush()
 * @method static array<string, mixed> getStats()
 * @method static void clear()
 * @method static void assertAdded(string $table, callable|array<string, mixed>|null $match = null)
 * @method static void assertNotAdded(string $table, callable|array<string, mixed>|null $match = null)
 * @method static void assertAddedTimes(string $table, int $times = 1, callable|array<string, mixed>|null $match = null)
 * @method static void assertDeleted(string $table, int|string|array<string, mixed> $key)
 * @method static void assertFlushed(?string $buffer = null)
 * @method static void assertNothingAdded()
 *
 * @see \WriteBuffer\Laravel\BufferManager
 * @see BuffersFake
 */
final class WriteBuffer extends Facade
{
    /** From now on rows are only recorded. */
    public static function fake(): BuffersFake
    {
        $fake = new BuffersFake();
        self::swap($fake);
        return $fake;
    }

    protected static function getFacadeAccessor(): string
    {
        return Buffers::class;
    }
}
