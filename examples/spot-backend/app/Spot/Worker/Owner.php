<?php

declare(strict_types=1);

namespace App\Spot\Worker;

/** A process, told from a later one that has the same number by the time it was started. */
final class Owner
{
    /** Fields 3 and 22 of /proc/PID/stat, counted from behind the name, which may hold blanks. */
    private const STATE_FIELD = 0;
    private const START_TIME_FIELD = 19;

    private function __construct(
        private readonly string $host,
        private readonly int $pid,
        private readonly string $startedAt,
    ) {
    }

    public static function ofThisProcess(): self
    {
        $pid = (int) getmypid();

        return new self((string) gethostname(), $pid, self::startOf($pid));
    }

    public static function parse(string $text): self
    {
        [$host, $pid, $startedAt] = explode(':', $text) + [1 => '0', 2 => ''];

        return new self($host, (int) $pid, $startedAt);
    }

    public function text(): string
    {
        return "{$this->host}:{$this->pid}:{$this->startedAt}";
    }

    /** Whether this one is the same process, or was one of the same host that is gone. */
    public function mayBeReplacedBy(self $other): bool
    {
        return $this->host === $other->host
            && ($this->pid === $other->pid || self::startOf($this->pid) !== $this->startedAt);
    }

    private static function startOf(int $pid): string
    {
        $stat = @file_get_contents("/proc/{$pid}/stat");

        if ($stat === false) {
            return '';
        }

        $field = explode(' ', substr($stat, (int) strrpos($stat, ')') + 2));

        // Dead, and its parent has not looked yet.
        return $field[self::STATE_FIELD] === 'Z' ? '' : $field[self::START_TIME_FIELD];
    }
}
