<?php

declare(strict_types=1);

namespace WriteBuffer;

use Illuminate\Container\Container;
use Illuminate\Database\ConnectionInterface;
use PDO;
use WriteBuffer;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Laravel\Contracts\Buffers;
use WriteBuffer\Laravel\Extension;

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
     * @param ConnectionInterface|PDO|null $connection null: that of the application's default buffer
     */
    public static function createSync(ConnectionInterface|PDO|null $connection = null): SyncWriteBuffer
    {
        $buffers = self::buffers();
        if ($connection === null && $buffers !== null) {
            $settings = $buffers->settings();
            return new SyncWriteBuffer(Container::getInstance()->make('db')->connection($settings->connectionName()), $settings->tables());
        }
        return new SyncWriteBuffer($connection ?? self::defaultConnection());
    }

    /**
     * The native buffer, of this object's own. What is null comes from the application's
     * config/write-buffer.php where there is one, then WRITE_BUFFER_* variables, then INI.
     *
     * @param array<string, mixed> $options further options of the native buffer
     */
    public static function createAsync(
        ?int $maxBufferSize = null,
        ?int $flushIntervalMs = null,
        ?int $maxRetries = null,
        array $options = []
    ): WriteBufferInterface {
        Extension::loaded()->assertUsable();
        $given = ['max_buffer_size' => $maxBufferSize, 'flush_interval_ms' => $flushIntervalMs, 'max_retries' => $maxRetries];
        return new WriteBuffer(options: array_filter($given, static fn (?int $n): bool => $n !== null) + $options + self::configured());
    }

    /** @return array<string, mixed> */
    private static function configured(): array
    {
        return self::buffers()?->settings()->options() ?? [];
    }

    /** Of an application that has the provider. */
    private static function buffers(): ?Buffers
    {
        $isBound = class_exists(Container::class) && Container::getInstance()->bound(Buffers::class);
        return $isBound ? Container::getInstance()->make(Buffers::class) : null;
    }

    /** The application's configuration comes first: once it is cached, .env is not read any more. */
    private static function wantsSync(): bool
    {
        $configured = self::buffers() === null ? null : Container::getInstance()->make('config')->get('write-buffer.sync');
        return filter_var($configured ?? self::environment('WRITE_BUFFER_SYNC'), FILTER_VALIDATE_BOOL)
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
