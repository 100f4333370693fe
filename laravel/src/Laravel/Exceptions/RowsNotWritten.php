<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Exceptions;

use RuntimeException;

/**
 * What Laravel's exception handler is given when rows are pending, refused or rolled back at an end.
 */
final class RowsNotWritten extends RuntimeException
{
    private function __construct(public readonly string $buffer, string $message)
    {
        parent::__construct("Buffer \"$buffer\": $message");
    }

    public static function pending(string $buffer, string $error): self
    {
        return new self($buffer, $error);
    }

    /** @param list<string> $reasons */
    public static function quarantined(string $buffer, int $rows, array $reasons): self
    {
        $why = $reasons === [] ? '' : ' ' . implode(' ', $reasons);
        return new self($buffer, "the database refused $rows row(s), which are in quarantine.$why See: php artisan write-buffer:quarantine list --buffer=$buffer");
    }

    public static function rolledBack(string $buffer, string $at): self
    {
        return new self($buffer, "a transaction was still open at $at, and its rows were rolled back: commit() was not reached.");
    }

    /** @return array<string, mixed> for the log */
    public function context(): array
    {
        return ['buffer' => $this->buffer];
    }
}
