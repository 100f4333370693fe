<?php

declare(strict_types=1);

namespace WriteBuffer;

use Illuminate\Container\Container;
use Illuminate\Database\ConnectionInterface;
use PDO;
use WriteBuffer;
use WriteBuffer\Exception\ConfigurationException;

/**
 * Chooses between the buffer that writes at once and the native one.
 */
final class WriteBufferFactory
{
    /**
     * The sync buffer in a testing environment or with WRITE_BUFFER_SYNC=true, the native
     * one otherwise.
     *
     * @param ConnectionInterface|PDO|null $connection for the sync buffer; see createSync()
     */
    public static function create(ConnectionInterface|PDO|null $connection = null): WriteBufferInterface
    {
        return self::wantsSync() ? self::createSync($connection) : self::createAsync();
    }

    /**
     * @param ConnectionInterface|PDO|null $connection null: the application's default connection
     */
    public static function createSync(ConnectionInterface|PDO|null $connection = null): SyncWriteBuffer
    {
        return new SyncWriteBuffer($connection ?? self::defaultConnection());
    }

    /**
     * The native buffer. What is null comes from WRITE_BUFFER_* variables, then INI.
     *
     * @param array<string, mixed> $options further options of the native buffer
     */
    public static function createAsync(
        ?int $maxBufferSize = null,
        ?int $flushIntervalMs = null,
        ?int $maxRetries = null,
        array $options = []
    ): WriteBufferInterface {
        if (!class_exists(WriteBuffer::class, false)) {
            throw new ConfigurationException(
                'The write_buffer extension is not loaded: install it, or set WRITE_BUFFER_SYNC=true to write at once.'
            );
        }
        $given = ['maxBufferSize' => $maxBufferSize, 'flushIntervalMs' => $flushIntervalMs, 'maxRetries' => $maxRetries];
        return new WriteBuffer(...array_filter($given, static fn (?int $n): bool => $n !== null), options: $options);
    }

    private static function wantsSync(): bool
    {
        return filter_var(self::environment('WRITE_BUFFER_SYNC'), FILTER_VALIDATE_BOOL)
            || self::applicationEnvironment() === 'testing';
    }

    private static function applicationEnvironment(): string
    {
        $application = class_exists(Container::class) ? Container::getInstance() : null;
        return $application?->bound('env') ? (string) $application->make('env') : self::environment('APP_ENV');
    }

    /** Laravel fills $_ENV and $_SERVER, and not always the process's environment. */
    private static function environment(string $name): string
    {
        return (string) ($_ENV[$name] ?? $_SERVER[$name] ?? getenv($name));
    }

    private static function defaultConnection(): ConnectionInterface
    {
        if (!class_exists(Container::class) || !Container::getInstance()->bound('db')) {
            throw new ConfigurationException('There is no Laravel application: give a ConnectionInterface or PDO.');
        }
        return Container::getInstance()->make('db')->connection();
    }
}
