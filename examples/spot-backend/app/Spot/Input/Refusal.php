<?php

declare(strict_types=1);

namespace App\Spot\Input;

/** An entry of the input that asks for nothing that could be done, and why. */
final class Refusal
{
    public function __construct(
        public readonly string $reason,
        public readonly int $atMs,
    ) {
    }
}
