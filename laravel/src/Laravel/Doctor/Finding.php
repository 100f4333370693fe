<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Doctor;

/**
 * What a check found: fact, and remedy where something is wrong.
 */
final class Finding
{
    private function __construct(public readonly string $level, public readonly string $subject, public readonly string $text)
    {
    }

    public static function ok(string $subject, string $text): self
    {
        return new self('ok', $subject, $text);
    }

    /** Not wrong, but to be known. */
    public static function note(string $subject, string $text): self
    {
        return new self('note', $subject, $text);
    }

    public static function fault(string $subject, string $text): self
    {
        return new self('fault', $subject, $text);
    }
}
