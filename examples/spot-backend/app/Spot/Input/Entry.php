<?php

declare(strict_types=1);

namespace App\Spot\Input;

/** One entry of the input. */
final class Entry
{
    /** @param string $position where it stands, if the number of entries before it does not say it */
    public function __construct(
        public readonly OrderCommand|Refusal $content,
        public readonly string $position = '',
    ) {
    }
}
