<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel;

use WriteBuffer\Exception\ConfigurationException;

/**
 * The extension as this process has it.
 */
final class Extension
{
    /** Versions that this library was written for: from, and up to but without. */
    public const FROM = '0.1.0';
    public const BELOW = '0.2.0';

    public function __construct(public readonly ?string $version)
    {
    }

    public static function loaded(): self
    {
        // Not by the class: an application may still have one of its own.
        return new self(phpversion('write_buffer') ?: null);
    }

    /** Why the native buffer cannot be used; null: it can. */
    public function problem(): ?string
    {
        if ($this->version === null) {
            return 'The write_buffer extension is not loaded in PHP ' . PHP_VERSION . ' (' . PHP_SAPI . '): install it and add'
                . ' extension=write_buffer to php.ini, or set WRITE_BUFFER_SYNC=true to write at once.';
        }
        if (version_compare($this->version, self::FROM, '<') || version_compare($this->version, self::BELOW, '>=')) {
            return "The write_buffer extension is of version $this->version, and write-buffer/laravel needs " . self::FROM
                . ' or later below ' . self::BELOW . ': install the one or update the other.';
        }
        return null;
    }

    /** @throws ConfigurationException */
    public function assertUsable(): void
    {
        $problem = $this->problem();
        if ($problem !== null) {
            throw new ConfigurationException($problem);
        }
    }
}
