<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Contracts;

use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Laravel\Buffer;
use WriteBuffer\Laravel\BufferSettings;

/**
 * The buffers of an application by name; its implementations are the real ones and the fake.
 */
interface Buffers
{
    /**
     * @param string|null $name of config/write-buffer.php; null is its default
     * @throws ConfigurationException with what to do about it
     */
    public function buffer(?string $name = null): Buffer;

    /** @return array<string, Buffer> those that this process has asked for */
    public function opened(): array;

    /** @throws ConfigurationException */
    public function settings(?string $name = null): BufferSettings;

    /** The figures of all processes of this host as text for Prometheus. */
    public function metrics(): string;
}
