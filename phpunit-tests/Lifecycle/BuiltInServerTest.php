<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Lifecycle;

use PHPUnit\Framework\Attributes\DataProvider;
use RuntimeException;
use WriteBuffer\Tests\Support\CrashScenario;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\PhpFpm;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * `php -S`, alone and with workers: a named buffer outlives the request and drains at Ctrl+C;
 * what a killed server leaves is written by the next.
 */
final class BuiltInServerTest extends DatabaseTestCase
{
    private CrashScenario $scenario;
    private string $address;
    private ?Subprocess $server = null;

    protected function setUp(): void
    {
        $this->scenario = new CrashScenario(sys_get_temp_dir() . '/write-buffer-server-' . bin2hex(random_bytes(6)));
        mkdir("{$this->scenario->directory}/web");
        file_put_contents("{$this->scenario->directory}/web/index.php", Subprocess::PREAMBLE . CrashScenario::script(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal(['flush_interval_ms' => 86_400_000]));
            if (isset($_GET['id'])) group($buffer, (int) $_GET['id']);
            echo getmypid();
            PHP));
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        if ($this->server?->isRunning()) {
            $this->end(SIGKILL);
        }
        $this->scenario->remove();
    }

    /** @return iterable<string, array{int, int}> signal, workers */
    public static function ends(): iterable
    {
        yield 'Ctrl+C' => [SIGINT, 0];
        yield 'Ctrl+C with workers' => [SIGINT, 3];
        yield 'SIGTERM' => [SIGTERM, 0];
        yield 'SIGKILL with workers' => [SIGKILL, 3];
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testEachGroupIsWrittenOnceWhateverEndsTheServer(int $signal, int $workers): void
    {
        $environment = $workers > 0 ? ['PHP_CLI_SERVER_WORKERS' => (string) $workers] : [];
        [$this->server, $this->address] = Subprocess::server("{$this->scenario->directory}/web", $environment + $this->scenario->environment());
        $pids = [];
        for ($id = 1; $id <= 12; $id++) {
            $pids[] = $this->get("?id=$id");
        }
        $workers > 0 || self::assertSame([$pids[0]], array_values(array_unique($pids)));
        self::assertSame([], CrashScenario::written());
        $this->end($signal);
        // A server that traps a signal ends, and no crash is taken for that.
        $died = $signal === SIGINT ? null : $signal;
        self::assertSame($died, $this->server->signal, $this->server->output());
        if ($signal === SIGINT && $workers === 0) {
            self::assertSame(range(1, 12), CrashScenario::written());
        }
        $this->scenario->recover();
        self::assertSame(range(1, 12), CrashScenario::written());
        self::assertSame([], $this->scenario->journals());
    }

    private function get(string $query): string
    {
        $answer = file_get_contents("http://$this->address/$query");
        self::assertMatchesRegularExpression('/^\d+$/', (string) $answer);
        return (string) $answer;
    }

    private function end(int $signal): void
    {
        $pid = $this->server->pid();
        $children = PhpFpm::childrenOf($pid);
        posix_kill(-$pid, $signal);
        $this->server->wait();
        $this->eventually(static fn (): bool => array_filter($children, PhpFpm::isAlive(...)) === [], 'the workers have ended');
    }
}
