<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use RuntimeException;

/**
 * Many php-fpm children under load, reloaded every few seconds, beside a database that goes
 * away twice. Each request is one atomic group of CrashScenario, and accepted when its script
 * has noted it after commit() returned; some then exit, fail, flush or die of the memory limit.
 */
final class FpmStorm
{
    private const RESTARTS = 2;

    private const REQUEST = <<<'PHP'
        $id = (int) $_GET['id'];
        $buffer = WriteBuffer::open('crash', journal(['drain_timeout_ms' => 5_000]));
        group($buffer, $id);
        // One write in append mode: whole, whoever else writes.
        file_put_contents(getenv('ACKNOWLEDGED'), "$id\n", FILE_APPEND);
        echo getmypid();
        match ($id % 50) {
            0 => exit('.'),
            1 => throw new Exception('no'),
            2 => no_such_function(),
            3 => $buffer->flush(2_000),
            4 => ini_set('memory_limit', '16M') . str_repeat('x', 1 << 30),
            default => null,
        };
        PHP;

    private readonly PhpFpm $fpm;
    private readonly CrashScenario $scenario;
    private readonly string $script;
    private readonly string $noted;
    /** @var array<int, FastCgiRequest> requests under way by group */
    private array $requests = [];
    /** @var array<string, int> */
    private array $counts = ['requests' => 0, 'without an answer' => 0, 'reloads' => 0, 'restarts' => 0];
    /** @var array<int, true> processes that answered */
    private array $answered = [];
    /** @var list<string> */
    private array $wrong = [];
    private int $next = 1;
    private float $slowest = 0.0;

    public function __construct(private readonly int $children, private readonly int $seconds, private readonly int $reloadEvery = 5)
    {
        $this->scenario = new CrashScenario(sys_get_temp_dir() . '/write-buffer-storm-' . bin2hex(random_bytes(6)));
        $this->noted = "{$this->scenario->directory}/noted";
        $pool = ['pm.max_children' => $children, 'pm.max_requests' => 500, 'listen.backlog' => 4_096];
        $environment = $this->scenario->environment() + ['ACKNOWLEDGED' => $this->noted];
        // Nobody who drains, bounded by drain_timeout_ms, is to be killed: who is, hung.
        $this->fpm = new PhpFpm(['www' => $pool], ['process_control_timeout' => 40], [], $environment);
        $this->script = $this->fpm->script('request', CrashScenario::script(self::REQUEST));
    }

    /**
     * Runs it.
     *
     * @return array{wrong: list<string>, figures: array<string, int|float|string>}
     */
    public function run(): array
    {
        [$start, $reloads, $restarts] = [hrtime(true), 0, 0];
        $server = ServerControl::get();
        while (($time = (hrtime(true) - $start) / 1e9) < $this->seconds) {
            // The master reads no second signal while it waits for children: its own pace.
            if ($time > ($reloads + 1) * $this->reloadEvery) {
                $reloads++;
                $this->fpm->signal(SIGUSR2);
            }
            if ($restarts < self::RESTARTS && $time > ($restarts + 1) * $this->seconds / (self::RESTARTS + 1)) {
                $restarts++;
                $server->restartBeside();
            }
            $this->load(true);
        }
        $server->awaitRestart();
        $this->counts['restarts'] = $server->restarts();
        for ($deadline = hrtime(true) + 60e9; $this->requests !== [] && hrtime(true) < $deadline;) {
            $this->load(false);
        }
        if ($this->requests !== []) {
            $this->wrong[] = count($this->requests) . ' requests did not end within 60 s';
        }
        try {
            $this->fpm->stop(SIGQUIT, 60);
        } catch (RuntimeException $hangs) {
            $this->wrong[] = $hangs->getMessage();
        }
        $this->counts['children that answered'] = count($this->answered);
        $this->counts['reloads'] = substr_count($this->fpm->output(), 'ready to handle connections') - 1;
        $this->counts['left to the last process'] = count($this->scenario->journals());
        Database::forget();
        $last = $this->scenario->recover();
        $this->audit();
        if ($this->wrong === []) {
            $this->scenario->remove();
        } else {
            file_put_contents("{$this->scenario->directory}/said", $this->fpm->output() . $last);
            $this->wrong[] = "kept, with what was said: {$this->scenario->directory}";
        }
        return ['wrong' => $this->wrong, 'figures' => $this->counts + ['slowest request, s' => round($this->slowest, 2)]];
    }

    /** Keeps as many requests under way as there are children, and a few to wait. */
    private function load(bool $more): void
    {
        while ($more && count($this->requests) < $this->children + 10) {
            $this->requests[$this->next] = new FastCgiRequest($this->fpm->socket('www'), $this->script, ['id' => $this->next]);
            $this->next++;
            $this->counts['requests']++;
        }
        $read = array_filter(array_map(static fn (FastCgiRequest $request) => $request->stream(), $this->requests));
        $none = null;
        if ($read === [] || @stream_select($read, $none, $none, 0, 50_000) === 0) {
            return;
        }
        foreach ($read as $id => $stream) {
            $request = $this->requests[$id];
            $request->read();
            if ($request->stream() === null) {
                $this->answered[(int) $request->body()] = true;
                $this->counts['without an answer'] += (int) !$request->isComplete();
                $this->slowest = max($this->slowest, $request->seconds());
                unset($this->requests[$id]);
            }
        }
    }

    private function audit(): void
    {
        $accepted = array_map('intval', is_file($this->noted) ? file($this->noted) ?: [] : []);
        $written = CrashScenario::trades();
        $orders = array_map('intval', array_column(Database::rows('SELECT id FROM orders ORDER BY id'), 'id'));
        $this->counts += ['accepted' => count($accepted), 'written' => count($written), 'not noted but written' => count(array_diff($written, $accepted))];
        $fault = function (bool $is, string $what): void {
            $is && $this->wrong[] = $what;
        };
        $missing = array_diff($accepted, $written);
        // Without these it would have been a storm of nothing. A signal that comes while the master waits for
        // children to drain, which takes its time while the database is away, is no reload of its own.
        $expected = $this->seconds / 10;
        $fault($this->counts['reloads'] < $expected, "{$this->counts['reloads']} reloads, not $expected at least");
        $fault($this->counts['restarts'] !== self::RESTARTS, "{$this->counts['restarts']} restarts, not " . self::RESTARTS);
        $fault($this->counts['without an answer'] > 0, "{$this->counts['without an answer']} requests ended without an answer");
        $fault($accepted === [], 'nothing was accepted');
        $fault(count($accepted) !== count(array_unique($accepted)), 'a group was accepted twice');
        $fault($missing !== [], count($missing) . ' accepted groups are missing, the first is ' . reset($missing));
        $fault($written !== array_values(array_unique($written)), 'groups are there more than once');
        $fault($written !== $orders, sprintf('%d trades but %d orders', count($written), count($orders)));
        $fault(array_diff($written, range(1, $this->next)) !== [], 'groups are there that nobody asked for');
        array_push($this->wrong, ...CrashScenario::wrongSums($written));
        $fault($this->scenario->journals() !== [], 'left in the journal: ' . implode(', ', $this->scenario->journals()));
        $fault(CrashScenario::checkpoints() > 0, CrashScenario::checkpoints() . ' checkpoints are left');
        $fault(glob("{$this->scenario->directory}/journal/*.jsonl") !== [], 'something was refused or spilled');
        $alive = $this->fpm->survivors();
        $fault($alive !== [], 'children outlive php-fpm: ' . implode(' ', $alive));
        array_map(static fn (int $pid): bool => posix_kill($pid, SIGKILL), $alive);
        $fault($this->fpm->cores() !== [], 'core files: ' . implode(' ', $this->fpm->cores()));
        preg_match_all('/child \d+ exited on signal .*|child \d+ exited with code [1-9].*/', $this->fpm->output(), $ends);
        $fault($ends[0] !== [], count($ends[0]) . ' children did not end by themselves: ' . ($ends[0][0] ?? ''));
    }
}
