<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Lifecycle;

use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer\Tests\Support\CrashScenario;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\ServerControl;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * However a process of the command line ends, with a database that is there, away, or hangs:
 * it ends soon, of nothing else, and what it accepted is written once, by it or by the next.
 */
final class EndTest extends DatabaseTestCase
{
    /** Says when the end of the script begins, by the clock that the test reads, too. */
    private const ENDS = 'fprintf(STDOUT, "ends at %d\\n", hrtime(true));';

    /** What an end may take beyond drain_timeout_ms, on a machine that does other things as well. */
    private const SLACK_SECONDS = 5.0;

    private CrashScenario $scenario;

    protected function setUp(): void
    {
        $this->scenario = new CrashScenario(sys_get_temp_dir() . '/write-buffer-end-' . bin2hex(random_bytes(6)));
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        $this->scenario->remove();
    }

    /** @return iterable<string, array{string, int|null, 2?: int}> code, exit code, signal */
    public static function ends(): iterable
    {
        $self = static fn (string $signal): string => "posix_kill(getmypid(), $signal); sleep(20);";
        $trap = static fn (string $signal): string => "pcntl_async_signals(true); pcntl_signal($signal, fn () => exit(7)); " . $self($signal);
        yield 'the end of the script' => ['', 0];
        yield 'exit' => ['exit(3);', 3];
        yield 'an uncaught exception' => ['throw new Exception("no");', 255];
        yield 'a fatal error' => ['no_such_function();', 255];
        yield 'the memory limit' => ['ini_set("memory_limit", "16M"); str_repeat("x", 1 << 30);', 255];
        yield 'the time limit' => ['set_time_limit(1); while (true);', 255];
        yield 'SIGTERM, trapped' => [$trap('SIGTERM'), 7];
        yield 'SIGINT, trapped' => [$trap('SIGINT'), 7];
        yield 'SIGTERM' => [$self('SIGTERM'), null, SIGTERM];
        yield 'SIGINT' => [$self('SIGINT'), null, SIGINT];
        yield 'SIGKILL' => [$self('SIGKILL'), null, SIGKILL];
        yield 'a crash' => [$self('SIGSEGV'), null, SIGSEGV];
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testWithTheDatabaseThereEachGroupIsWrittenOnce(string $end, ?int $status, ?int $signal = null): void
    {
        // Some are written before the end, some are not.
        $child = $this->child('$b = WriteBuffer::open("crash", journal()); for ($i = 1; $i <= 300; $i++) group($b, $i);' . $end);
        self::assertSame([$status ?? -1, $signal], [$child->exitCode, $child->signal], $child->output());
        if ($signal === null) {
            self::assertSame(range(1, 300), CrashScenario::written(), $child->output());
            self::assertSame([], $this->scenario->journals(), $child->output());
        }
        $this->scenario->recover();
        self::assertSame(range(1, 300), CrashScenario::written(), $child->output());
        self::assertSame([[], 0], [$this->scenario->journals(), $this->scenario::checkpoints()]);
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testWithTheDatabaseAwayTheNextProcessWritesThem(string $end, ?int $status, ?int $signal = null): void
    {
        $open = '$b = WriteBuffer::open("crash", journal(["dsn" => "mysql://app:hunter2@127.0.0.1:1/spot", "drain_timeout_ms" => 100]));';
        $child = $this->child($open . 'try { for ($i = 1; $i <= 20; $i++) group($b, $i); } catch (WriteBuffer\Exception\ConnectionException) {} $n = $i - 1; file_put_contents(getenv("DIRECTORY") . "/n", $n);' . self::ENDS . $end);
        self::assertEndedWithin(0.1, $child);
        self::assertSame([$status ?? -1, $signal], [$child->exitCode, $child->signal], $child->output());
        self::assertSame([], CrashScenario::written());
        $said = $child->stderr();
        self::assertStringNotContainsString('hunter2', $said);
        $signal !== null || self::assertStringContainsString('they are in the journal', $said);
        $accepted = (int) file_get_contents("{$this->scenario->directory}/journal/n");
        self::assertGreaterThan(0, $accepted);
        unlink("{$this->scenario->directory}/journal/n");
        $this->scenario->recover();
        self::assertSame(range(1, $accepted), CrashScenario::written());
        self::assertSame([[], 0], [$this->scenario->journals(), $this->scenario::checkpoints()]);
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testWithTheDatabaseHangingTheEndIsBoundedAndTheNextProcessWritesThem(string $end, ?int $status, ?int $signal = null): void
    {
        $lock = Database::blockWrites('spot_usd_accounts');
        $child = Subprocess::start(CrashScenario::script(
            '$b = WriteBuffer::open("crash", journal(["drain_timeout_ms" => 300, "retry_max_ms" => 50]));
            for ($i = 1; $i <= 20; $i++) group($b, $i);
            usleep(150_000);' . self::ENDS . $end
        ), $this->scenario->environment())->wait(20);
        self::assertEndedWithin(0.3, $child);
        self::assertSame([$status ?? -1, $signal], [$child->exitCode, $child->signal], $child->output());
        self::assertSame([], CrashScenario::written());
        $lock->exec('ROLLBACK');
        $this->scenario->recover();
        self::assertSame(range(1, 20), CrashScenario::written());
        self::assertSame([[], 0], [$this->scenario->journals(), $this->scenario::checkpoints()]);
    }

    /** @return iterable<string, array{bool, string, int|null, 3?: int}> whether it has a connection, code, exit code, signal */
    public static function endsBesideASilentServer(): iterable
    {
        foreach (['connected' => true, 'not connected' => false] as $state => $isConnected) {
            foreach (['the end of the script', 'a fatal error', 'SIGTERM, trapped', 'SIGTERM'] as $end) {
                yield "$state, $end" => [$isConnected, ...[...self::ends()][$end]];
            }
        }
    }

    /**
     * The server does not even refuse. What it had taken in when it fell silent, it does when it wakes.
     *
     * @dataProvider endsBesideASilentServer
     */
    #[DataProvider('endsBesideASilentServer')]
    public function testWithTheServerSilentTheEndIsBoundedAndEachGroupIsWrittenOnceLater(bool $isConnected, string $end, ?int $status, ?int $signal = null): void
    {
        $go = "{$this->scenario->directory}/go";
        $child = Subprocess::start(CrashScenario::script(
            '$b = WriteBuffer::open("crash", journal(["drain_timeout_ms" => 300, "retry_max_ms" => 50, "max_buffer_size" => 1]));'
            . ($isConnected ? 'group($b, 1); $b->flush(10_000);' : '') . 'echo "ready\n";'
            . 'while (!file_exists(getenv("GO"))) { usleep(1_000); clearstatcache(); }
            for ($i = 2; $i <= 20; $i++) group($b, $i);
            usleep(150_000);' . self::ENDS . $end
        ), ['GO' => $go] + $this->scenario->environment())->waitFor('ready');
        ServerControl::get()->silent(function () use ($child, $go, $status, $signal): void {
            touch($go);
            $child->wait(30);
            self::assertEndedWithin(0.3, $child);
            self::assertSame([$status ?? -1, $signal], [$child->exitCode, $child->signal], $child->output());
            self::assertCount(1, $this->scenario->journals(), $child->output());
        });
        $this->scenario->recover();
        self::assertSame($isConnected ? range(1, 20) : range(2, 20), CrashScenario::written(), $child->output());
        self::assertSame([[], 0], [$this->scenario->journals(), $this->scenario::checkpoints()]);
    }

    public function testManyBuffersWhoseDatabaseHangsEndTogether(): void
    {
        $lock = Database::blockWrites('spot_usd_accounts');
        $child = $this->child(<<<'PHP'
            for ($i = 1; $i <= 12; $i++) {
                $b[$i] = new WriteBuffer(options: journal(['name' => 'crash', 'drain_timeout_ms' => 1_000, 'retry_max_ms' => 50]));
                group($b[$i], $i);
            }
            usleep(200_000);
            PHP . self::ENDS);
        // One after the other they would take 12 s.
        self::assertEndedWithin(1.0, $child);
        self::assertSame([0, null], [$child->exitCode, $child->signal], $child->output());
        $lock->exec('ROLLBACK');
        $this->scenario->recover();
        self::assertSame(range(1, 12), CrashScenario::written());
    }

    /** @return iterable<string, array{string, string}> what a handler does, and what is printed */
    public static function handlers(): iterable
    {
        yield 'it adds' => ['group($b, 2); echo "added ";', 'added ok 2 '];
        yield 'it flushes, too' => ['group($b, 2); echo $b->flush(50)->isSuccess() ? "?" : "pending ";', 'pending ok 2 '];
        yield 'it forks' => [
            'if (($pid = pcntl_fork()) === 0) { group($b, 2); posix_kill(getmypid(), SIGKILL); } pcntl_waitpid($pid, $s); echo "forked ";',
            'forked ok 1 ',
        ];
        yield 'it exits' => ['group($b, 2); file_put_contents(getenv("GO"), "1"); exit("exits ");', 'exits '];
    }

    /** @dataProvider handlers */
    #[DataProvider('handlers')]
    public function testASignalHandlerDoesAsItLikesWhileAFlushWaits(string $handler, string $printed): void
    {
        $lock = Database::blockWrites('spot_usd_accounts');
        $go = "{$this->scenario->directory}/go";
        $child = Subprocess::start(CrashScenario::script(
            '$b = WriteBuffer::open("crash", journal()); group($b, 1); pcntl_async_signals(true);
            pcntl_signal(SIGUSR1, function () use ($b) {' . $handler . ' file_put_contents(getenv("GO"), "1"); });
            echo "ready\n";
            $r = $b->flush(20_000); $r = $b->flush(20_000); echo $r->isSuccess() ? "ok " : implode($r->getErrors()), $b->sequence() / 4, " ";'
        ), $this->scenario->environment() + ['GO' => $go])->waitFor('ready');
        usleep(100_000);
        $child->kill(SIGUSR1);
        $this->eventually(static fn (): bool => file_exists($go), 'the handler ran while the flush waited');
        $lock->exec('ROLLBACK');
        $child->wait(30);
        self::assertSame([0, "ready\n$printed"], [$child->exitCode, $child->stdout()], $child->output());
        $this->scenario->recover();
        self::assertSame([1, 2], CrashScenario::written(), $child->output());
    }

    /** Call it as soon as the process has ended. */
    private static function assertEndedWithin(float $seconds, Subprocess $child): void
    {
        $now = hrtime(true);
        self::assertSame(1, preg_match('/^ends at (\d+)$/m', $child->stdout(), $found), $child->output());
        self::assertLessThan($seconds + self::SLACK_SECONDS, ($now - (int) $found[1]) / 1e9, $child->output());
    }

    private function child(string $code, float $seconds = 30.0): Subprocess
    {
        return Subprocess::run(CrashScenario::script($code), $this->scenario->environment(), $seconds);
    }
}
