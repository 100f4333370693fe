<?php

declare(strict_types=1);

namespace App\Spot\Gateway;

/** What became of a request. */
final class Receipt
{
    private function __construct(
        public readonly bool $isApplied,
        public readonly ?string $refusal,
        public readonly ?string $entry,
    ) {
    }

    /** It is in effect. */
    public static function applied(): self
    {
        return new self(true, null, null);
    }

    public static function refused(string $reason): self
    {
        return new self(false, $reason, null);
    }

    /** It waits for the market's worker, as this entry of its stream. */
    public static function queued(string $entry): self
    {
        return new self(false, null, $entry);
    }
}
