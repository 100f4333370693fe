<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use RuntimeException;

/**
 * Where processes are killed: every failpoint in turn, and between them at random instants.
 * It counts how often each failpoint had its turn, and how often it struck.
 */
final class CrashPlan
{
    public const RANDOM = 'a random instant';

    /** Groups that fill two segments. On an encrypted connection larger rows wait for acknowledgements. */
    private const LARGE = ['PAD' => '15000', 'COUNT' => '600'];

    /**
     * Of each failpoint, how often it may be passed before it strikes, and what a writer
     * needs to get there; null is a point that only the process that recovers passes.
     */
    private const POINTS = [
        'append-before' => [100, []],
        'append-within' => [100, []],
        'append-after' => [100, []],
        'segment-made' => [3, self::LARGE],
        'sync-before' => [5, ['MODE' => 'interval or always']],
        'sync-after' => [5, ['MODE' => 'interval or always']],
        'execute-before' => [3, ['FLUSH' => '40']],
        'execute-within' => [3, ['FLUSH' => '40']],
        'commit-before' => [3, ['FLUSH' => '40']],
        'commit-sent' => [3, ['FLUSH' => '40']],
        'commit-acknowledged' => [3, ['FLUSH' => '40']],
        'resolve-after' => [3, ['FLUSH' => '40']],
        'trim-before' => [3, self::LARGE],
        'trim-after' => [3, self::LARGE],
        'quarantine-stored' => [3, ['REFUSE' => '40']],
        'recovery-before-write' => [2, null],
        'recovery-removed' => [2, null],
        'forget-before' => [1, ['COUNT' => '50']],
    ];

    /** Those that a process which recovers may pass, too. */
    private const OF_RECOVERY = [
        'recovery-before-write', 'quarantine-stored', 'recovery-removed', 'execute-before', 'commit-sent', 'forget-before',
        'recovery-removed', 'commit-acknowledged', 'recovery-before-write', 'resolve-after', 'trim-after', 'execute-within',
        'recovery-removed', 'commit-before', 'quarantine-stored', self::RANDOM,
    ];

    /** Writers that are killed at a random instant, for each time round the failpoints. */
    private const INSTANTS = 4;

    private const MODES = ['process', 'interval', 'always'];

    /** @var array<string, array{int, int}> */
    private array $counts;

    private int $writers = 0;
    private int $recoverers = 0;

    public function __construct()
    {
        $this->counts = array_fill_keys([...array_keys(self::POINTS), self::RANDOM], [0, 0]);
    }

    /** Sees whether the extension has the failpoints that are planned for, and no others. */
    public static function check(): void
    {
        $child = Subprocess::run('(new WriteBuffer())->addTrade(trade(1));', ['WRITE_BUFFER_FAILPOINT' => 'which are there?']);
        preg_match('/one of: ([a-z -]+)/', $child->stderr(), $names);
        if ($names === []) {
            throw new RuntimeException('The extension is built without failpoints (make failpoints): ' . $child->output());
        }
        if (explode(' ', $names[1]) !== array_keys(self::POINTS)) {
            throw new RuntimeException("The extension has other failpoints than are planned for: $names[1].");
        }
    }

    /**
     * The next writer: where it dies, and its environment.
     *
     * @return array{string, array<string, string>}
     */
    public function writer(): array
    {
        $points = array_keys(array_filter(self::POINTS, static fn (array $point): bool => $point[1] !== null));
        $turn = $this->writers++ % (count($points) + self::INSTANTS);
        $some = ['MODE' => self::MODES[mt_rand(0, 2)], 'COUNT' => '200', 'REFUSE' => (string) (mt_rand(0, 2) === 0 ? 60 : 0)];
        if (!isset($points[$turn])) {
            return [self::RANDOM, ['COUNT' => '0'] + $some];
        }
        [$most, $needs] = self::POINTS[$points[$turn]];
        if (isset($needs['MODE'])) {
            $needs['MODE'] = self::MODES[mt_rand(1, 2)];
        }
        return [$points[$turn], $needs + $this->armed($points[$turn], $most) + $some];
    }

    /**
     * The next process that recovers and is killed while it does.
     *
     * @return array{string, array<string, string>}
     */
    public function recoverer(): array
    {
        $point = self::OF_RECOVERY[$this->recoverers++ % count(self::OF_RECOVERY)];
        $environment = ['MODE' => self::MODES[mt_rand(0, 2)]];
        return [$point, $environment + ($point === self::RANDOM ? [] : $this->armed($point, min(2, self::POINTS[$point][0])))];
    }

    /** A process that was to be killed somewhere has ended. */
    public function ended(string $point, Subprocess $process): bool
    {
        $struck = $process->signal === SIGKILL;
        if (!$struck && $process->exitCode !== 0) {
            throw new RuntimeException("A process that was to die at $point failed: " . $process->output());
        }
        $this->counts[$point][0]++;
        $this->counts[$point][1] += (int) $struck;
        return $struck;
    }

    /**
     * Of each point, its turns and how often it struck.
     *
     * @return array<string, array{int, int}>
     */
    public function counts(): array
    {
        return $this->counts;
    }

    /** @return array<string, string> */
    private function armed(string $point, int $most): array
    {
        return ['WRITE_BUFFER_FAILPOINT' => "$point:" . mt_rand(1, $most)];
    }
}
