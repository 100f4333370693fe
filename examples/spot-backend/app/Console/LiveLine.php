<?php

declare(strict_types=1);

namespace App\Console;

/**
 * One line that is always up to date: rewritten in place on a terminal, repeated every few
 * seconds elsewhere.
 */
final class LiveLine
{
    private const TERMINAL_INTERVAL_NS = 200_000_000;
    private const LOG_INTERVAL_NS = 2_000_000_000;

    private readonly bool $isTerminal;
    private int $lastNs;
    private int $width = 0;

    public function __construct()
    {
        $this->isTerminal = stream_isatty(STDOUT);
        $this->lastNs = hrtime(true);
    }

    public function isDue(): bool
    {
        return hrtime(true) - $this->lastNs >= ($this->isTerminal ? self::TERMINAL_INTERVAL_NS : self::LOG_INTERVAL_NS);
    }

    public function show(string $text): void
    {
        $this->lastNs = hrtime(true);

        if ($this->isTerminal) {
            fwrite(STDOUT, "\r" . str_pad($text, $this->width));
            $this->width = strlen($text);
        } else {
            fwrite(STDOUT, $text . PHP_EOL);
        }
    }

    /** Leaves what was shown last standing, so that the next output starts on a line of its own. */
    public function end(): void
    {
        if ($this->isTerminal && $this->width > 0) {
            fwrite(STDOUT, PHP_EOL);
            $this->width = 0;
        }
    }
}
