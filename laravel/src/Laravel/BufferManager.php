<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel;

use Illuminate\Container\Container;
use Illuminate\Contracts\Config\Repository;
use WriteBuffer;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Laravel\Contracts\Buffers;
use WriteBuffer\Laravel\Metrics\PrometheusText;
use WriteBuffer\Laravel\Status\Board;
use WriteBuffer\SyncWriteBuffer;

/**
 * Opens buffers as config/write-buffer.php says. It keeps no application: under Octane each
 * request has its own.
 *
 * @mixin Buffer
 */
final class BufferManager implements Buffers
{
    /** @var array<string, Buffer> */
    private array $opened = [];

    public function buffer(?string $name = null): Buffer
    {
        $name ??= BufferSettings::defaultName(self::config());
        if (($this->opened[$name] ?? null)?->isClosed() ?? true) {
            $this->opened[$name] = $this->open($this->settings($name));
        }
        return $this->opened[$name];
    }

    public function opened(): array
    {
        return $this->opened;
    }

    public function settings(?string $name = null): BufferSettings
    {
        return BufferSettings::of($name, self::config());
    }

    public function metrics(): string
    {
        $board = Container::getInstance()->make(Board::class);
        $board->publish($this->opened, now: true);
        return PrometheusText::of($board->read()->processes);
    }

    /**
     * Whatever else is asked of the manager is asked of its default buffer.
     *
     * @param array<mixed> $arguments
     */
    public function __call(string $method, array $arguments): mixed
    {
        return $this->buffer()->$method(...$arguments);
    }

    private function open(BufferSettings $settings): Buffer
    {
        if (BufferSettings::isSync(self::config())) {
            $database = Container::getInstance()->make('db')->connection($settings->connection()->name);
            return new Buffer($settings->name, new SyncWriteBuffer($database, $settings->tables()));
        }
        $options = $settings->options();
        Container::getInstance()->make(Extension::class)->assertUsable();
        return new Buffer($settings->name, self::native($settings->name, $options), $settings->hasConnection() ? $settings->connectionName() : null);
    }

    /** @param array<string, mixed> $options */
    private static function native(string $name, array $options): WriteBuffer
    {
        try {
            return WriteBuffer::open($name, $options);
        } catch (ConfigurationException) {
            // This process may have it open as an older configuration had it, as FPM's
            // children do after a deployment: that one is written out and closed.
            (new Buffer($name, WriteBuffer::open($name)))->close();
            return WriteBuffer::open($name, $options);
        }
    }

    private static function config(): Repository
    {
        return Container::getInstance()->make('config');
    }
}
