<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Lifecycle;

use PDO;
use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer\Tests\Support\CrashScenario;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * A forked child, its own children, and whoever comes after them: none hangs, crashes, loses
 * or repeats a row, whatever the parent's threads were doing when it forked.
 */
final class ForkTest extends DatabaseTestCase
{
    private CrashScenario $scenario;

    protected function setUp(): void
    {
        $this->scenario = new CrashScenario(sys_get_temp_dir() . '/write-buffer-fork-' . bin2hex(random_bytes(6)));
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        $this->scenario->remove();
    }

    /** @return iterable<string, array{string, string}> */
    public static function journals(): iterable
    {
        foreach (['process', 'interval', 'always'] as $mode) {
            yield "$mode, before the first add" => [$mode, ''];
            yield "$mode, after it" => [$mode, 'group($buffer, 1);'];
        }
    }

    /** @dataProvider journals */
    #[DataProvider('journals')]
    public function testChildrenThatAddExitAndCrashAndTheirChildren(string $mode, string $first): void
    {
        $child = $this->child('$buffer = WriteBuffer::open("crash", journal());' . $first . <<<'PHP'
            $ends = [
                fn () => exit(0),
                fn () => posix_kill(getmypid(), SIGKILL),
                fn () => posix_kill(getmypid(), SIGSEGV),
                fn () => exit(3),
            ];
            foreach ($ends as $at => $end) {
                $pid = pcntl_fork();
                if ($pid > 0) { $pids[] = $pid; continue; }
                group($buffer, 10 + $at);
                // A grandchild adds, too, and ends as its parent does.
                $grandchild = pcntl_fork();
                if ($grandchild === 0) { group($buffer, 20 + $at); $end(); }
                pcntl_waitpid($grandchild, $status);
                group($buffer, 30 + $at);
                $end();
            }
            foreach ($pids as $pid) {
                pcntl_waitpid($pid, $status);
                echo pcntl_wifsignaled($status) ? 's' . pcntl_wtermsig($status) : pcntl_wexitstatus($status), ' ';
            }
            group($buffer, 2);
            PHP, ['MODE' => $mode]);
        self::assertSame([0, '0 s9 s11 3 '], [$child->exitCode, $child->stdout()], $child->output());
        $this->scenario->recover();
        $expected = [2, ...range(10, 13), ...range(20, 23), ...range(30, 33)];
        self::assertSame($first === '' ? $expected : [1, ...$expected], CrashScenario::written());
        self::assertSame([], $this->scenario->journals());
    }

    public function testAChildTakesOverWhatItsDeadParentLeft(): void
    {
        $child = $this->child(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal(['flush_interval_ms' => 86_400_000]));
            for ($id = 1; $id <= 5; $id++) group($buffer, $id);
            $parent = getmypid();
            if (pcntl_fork() > 0) posix_kill($parent, SIGKILL);
            // All its threads must be gone for its locks to be.
            while (file_exists("/proc/$parent")) { clearstatcache(); usleep(1_000); }
            group($buffer, 6);
            $buffer->flush();
            file_put_contents(getenv('DIRECTORY') . '/done', '1');
            PHP);
        self::assertSame(SIGKILL, $child->signal, $child->output());
        $done = "{$this->scenario->directory}/journal/done";
        $this->eventually(static fn (): bool => (bool) @file_get_contents($done), 'the child has written');
        self::assertSame(range(1, 6), CrashScenario::written(), $child->output());
    }

    /**
     * Threads that wait when their process forks are not in the child, and nothing of what
     * they waited on may be. Freed memory is filled, so that whoever uses it does not get away with it.
     */
    public function testAChildHasNothingToDoWithItsParentsThreads(): void
    {
        $child = $this->child(<<<'PHP'
            $make = fn (string $name) => new WriteBuffer(options: journal(['name' => $name, 'flush_interval_ms' => 86_400_000]));
            for ($i = 0; $i < 6; $i++) {
                $parents[$i] = $make("p$i");
                group($parents[$i], $i + 1);
                $parents[$i]->flush();
            }
            usleep(50_000);
            for ($round = 1; $round <= 10; $round++) {
                $pid = pcntl_fork();
                if ($pid === 0) {
                    for ($i = 0; $i < 10; $i++) {
                        $own[$i] = $make("c$i");
                        group($own[$i], 100 * $round + $i);
                    }
                    usleep(20_000);
                    for ($i = 0; $i < 10; $i++) $own[$i]->flush();
                    exit(0);
                }
                pcntl_waitpid($pid, $status);
                echo pcntl_wifsignaled($status) ? 's' . pcntl_wtermsig($status) : pcntl_wexitstatus($status);
            }
            PHP, ['MODE' => 'interval', 'MALLOC_PERTURB_' => '165']);
        self::assertSame([0, str_repeat('0', 10)], [$child->exitCode, $child->stdout()], $child->output());
        $expected = array_merge(...array_map(static fn (int $round): array => range(100 * $round, 100 * $round + 9), range(1, 10)));
        self::assertSame([...range(1, 6), ...$expected], CrashScenario::written());
    }

    /** The parent's writer stands at a full pipe with something to say while its process forks. */
    public function testAChildEndsWhateverItsParentWasSaying(): void
    {
        $this->killOnce();
        $child = $this->child(<<<'PHP'
            $pipe = getenv('DIRECTORY') . '/pipe';
            posix_mkfifo($pipe, 0600);
            fclose(STDERR);
            $full = fopen($pipe, 'r+');
            stream_set_blocking($full, false);
            while (@fwrite($full, str_repeat('x', 4096))) {}
            stream_set_blocking($full, true);
            $buffer = WriteBuffer::open('crash', journal());
            usleep(500_000);
            $pid = pcntl_fork();
            if ($pid === 0) {
                fclose($full);
                $lost = new WriteBuffer();
                $lost->addOrder(1, ['status' => 'new']);
                exit(0);
            }
            for ($i = 0; $i < 1_000 && pcntl_waitpid($pid, $status, WNOHANG) === 0; $i++) usleep(10_000);
            echo $i < 1_000 ? 'ended' : 'hangs';
            posix_kill($pid, SIGKILL);
            posix_kill(getmypid(), SIGKILL);
            PHP);
        self::assertSame('ended', $child->stdout(), $child->output());
    }

    /** SQLite in the child would lock nothing, and its rows be lost when the parent takes the WAL away. */
    public function testAChildRefusesAWalThatItsParentHadOpen(): void
    {
        if (!Database::isSqlite()) {
            self::markTestSkipped('The WAL is SQLite\'s.');
        }
        $file = "{$this->scenario->directory}/wal.db";
        $database = new PDO("sqlite:$file");
        $database->exec('PRAGMA journal_mode = WAL');
        $database->exec('CREATE TABLE positions (id INTEGER PRIMARY KEY)');
        $database = null;
        $code = <<<'PHP'
            $open = fn () => WriteBuffer::open('wal', ['dsn' => 'sqlite://' . getenv('FILE'), 'tables' => ['positions' => ['mode' => 'upsert', 'key' => 'id']]]);
            $open()->add('positions', ['id' => 1]);
            $open()->flush();
            getenv('CLOSE') && $open()->close();
            $pid = pcntl_fork();
            $open()->add('positions', ['id' => $pid === 0 ? 2 : 3]);
            $result = $open()->flush();
            if ($pid === 0) {
                echo implode($result->getErrors()), '.';
                $open()->clear();
                exit($result->isSuccess() ? 0 : 1);
            }
            pcntl_waitpid($pid, $status);
            echo pcntl_wexitstatus($status), (int) $result->isSuccess();
            PHP;
        foreach (['' => ['1', '3'], '1' => ['1', '2', '3']] as $close => $expected) {
            $child = $this->child($code, ['FILE' => $file, 'CLOSE' => (string) $close]);
            $refusal = '/wal\.db" is in WAL mode and was open in this process when it was forked.*close\(\) the buffers before.*\.11$/s';
            self::assertMatchesRegularExpression($close === '' ? $refusal : '/^\.01$/', $child->stdout(), $child->output());
            $ids = (new PDO("sqlite:$file"))->query('SELECT id FROM positions ORDER BY id')->fetchAll(PDO::FETCH_COLUMN);
            self::assertEquals($expected, $ids);
        }
    }

    private function killOnce(): void
    {
        $child = $this->child('$b = WriteBuffer::open("crash", journal()); group($b, 1); posix_kill(getmypid(), SIGKILL);');
        self::assertSame(SIGKILL, $child->signal, $child->output());
    }

    /** @param array<string, string> $environment */
    private function child(string $code, array $environment = []): Subprocess
    {
        return Subprocess::run(CrashScenario::script($code), $environment + $this->scenario->environment(), 60);
    }
}
