<?php

declare(strict_types=1);

namespace App\Spot\Audit;

/** What one of the six statements came to. */
final class Finding
{
    private const EXAMPLES_MAX = 10;

    public int $failures = 0;

    /** @var list<string> */
    public array $examples = [];

    /** What was looked at, to be shown when all is well. */
    public string $seen = '';

    public function __construct(
        public readonly int $number,
        public readonly string $statement,
    ) {
    }

    public function fail(string $example): void
    {
        $this->failures++;

        if (count($this->examples) < self::EXAMPLES_MAX) {
            $this->examples[] = $example;
        }
    }

    public function isOk(): bool
    {
        return $this->failures === 0;
    }
}
