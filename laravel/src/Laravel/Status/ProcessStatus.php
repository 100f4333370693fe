<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Status;

/**
 * What one process last said of its buffers.
 */
final class ProcessStatus
{
    /**
     * @param string $started start time in clock ticks since boot: with the pid it names one process
     * @param array<string, array<string, mixed>> $buffers getStats() by name
     * @param string $sapi PHP_SAPI, or "octane": whether it says its figures also while it has nothing to do
     */
    public function __construct(
        public readonly string $host,
        public readonly int $pid,
        public readonly string $started,
        public readonly string $command,
        public readonly float $at,
        public readonly array $buffers,
        public readonly string $sapi = '',
    ) {
    }

    /** @param array<string, array<string, mixed>> $buffers */
    public static function own(array $buffers): self
    {
        $pid = (int) getmypid();
        $command = implode(' ', array_slice((array) ($_SERVER['argv'] ?? []), 0, 2));
        // Octane's servers are of PHP's command line, and idle as those of php-fpm are.
        $sapi = isset($_SERVER['LARAVEL_OCTANE']) ? 'octane' : PHP_SAPI;
        return new self((string) gethostname(), $pid, (string) self::startOf($pid), PHP_SAPI === 'cli' ? $command : PHP_SAPI, microtime(true), $buffers, $sapi);
    }

    public static function parse(string $json): ?self
    {
        $data = json_decode($json, true);
        if (!is_array($data) || !is_int($data['pid'] ?? null) || !is_array($data['buffers'] ?? null)) {
            return null;
        }
        return new self(
            (string) ($data['host'] ?? ''),
            $data['pid'],
            (string) ($data['started'] ?? ''),
            (string) ($data['command'] ?? ''),
            (float) ($data['at'] ?? 0),
            $data['buffers'],
            (string) ($data['sapi'] ?? ''),
        );
    }

    /** Whether that very process still runs: a pid alone may be another's by now. */
    public function isAlive(): bool
    {
        return $this->started !== '' && self::startOf($this->pid) === $this->started;
    }

    /** @return array<string, mixed> */
    public function toArray(): array
    {
        return get_object_vars($this);
    }

    private static function startOf(int $pid): ?string
    {
        $stat = @file_get_contents("/proc/$pid/stat");
        if ($stat === false) {
            return null;
        }
        // The name in parentheses may hold anything; field 22 counts from behind it.
        $fields = explode(' ', substr($stat, (int) strrpos($stat, ')') + 2));
        return ($fields[0] ?? '') === 'Z' ? null : ($fields[19] ?? null);
    }
}
