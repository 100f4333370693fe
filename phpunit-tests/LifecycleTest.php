<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer\Tests\Support\CrashScenario;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * However a process ends, and whatever it forks, each row is written once.
 */
final class LifecycleTest extends DatabaseTestCase
{
    private const ADD_TEN = <<<'PHP'
        $buffer = new WriteBuffer(1_000_000, 86_400_000, 3, $options);
        for ($match = 1; $match <= 10; $match++) $buffer->addTrade(trade($match));

        PHP;

    /** @return iterable<string, array{string, int}> */
    public static function ends(): iterable
    {
        yield 'the end of the script' => ['', 0];
        yield 'exit' => ['function f() { exit(3); } f();', 3];
        yield 'exit in a destructor' => ['class D { function __destruct() { exit(4); } } $d = new D;', 4];
        yield 'an uncaught exception' => ['throw new Exception("no");', 255];
        yield 'a fatal error' => ['ini_set("memory_limit", "16M"); $x = str_repeat("x", 1 << 30);', 255];
        yield 'a compile error' => ['eval("function strlen() {}");', 255];
        yield 'a time limit' => ['set_time_limit(1); while (true);', 255];
        yield 'an exception in a shutdown function' => [
            'register_shutdown_function(function () { throw new Exception("no"); });', 255,
        ];
        yield 'a handle in a cycle' => ['$o = new stdClass; $o->self = $o; $o->b = $buffer; unset($buffer);', 0];
        yield 'a dropped handle' => ['unset($buffer);', 0];
        yield 'a handle in a static' => ['final class S { static $b; } S::$b = $buffer; unset($buffer);', 0];
        yield 'SIGTERM with a handler' => [
            'pcntl_async_signals(true); pcntl_signal(SIGTERM, fn () => exit(7)); posix_kill(getmypid(), SIGTERM); sleep(20);', 7,
        ];
    }

    /** Laravel's handler throws, and at the end of a request nobody is there to catch. */
    public function testForgottenTransactionsAreAllRolledBackBesideAnErrorHandlerThatThrows(): void
    {
        $child = Subprocess::run(<<<'PHP'
            set_error_handler(static fn (int $level, string $message) => throw new ErrorException($message));
            foreach (['one', 'two'] as $name) {
                $buffer = WriteBuffer::open($name, $options);
                $buffer->addTrade(trade($name === 'one' ? 1 : 2));
                $buffer->beginTransaction();
                $buffer->addTrade(trade(3));
            }
            $private = new WriteBuffer(options: $options);
            $private->beginTransaction();
            $private->addTrade(trade(4));
            PHP);
        self::assertSame([0, null], [$child->exitCode, $child->signal], $child->output());
        self::assertSame(3, substr_count($child->output(), 'was left with a transaction open; 1 row(s)'), $child->output());
        self::assertSame([1, 2], CrashScenario::trades(), $child->output());
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testTheBufferDrainsAt(string $end, int $status): void
    {
        $child = Subprocess::run(self::ADD_TEN . $end);
        self::assertSame($status, $child->exitCode, $child->output());
        self::assertNull($child->signal, $child->output());
        self::assertTrades(range(1, 10), $child->output());
        self::assertStringNotContainsString('write_buffer:', $child->stderr());
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testANamedBufferDrainsAt(string $end, int $status): void
    {
        $add = str_replace('new WriteBuffer(1_000_000, 86_400_000, 3, ', 'WriteBuffer::open("life", ', self::ADD_TEN);
        $child = Subprocess::run($add . $end);
        self::assertSame($status, $child->exitCode, $child->output());
        self::assertTrades(range(1, 10), $child->output());
    }

    public function testRowsAddedInShutdownFunctionsAndDestructorsAreWritten(): void
    {
        $child = Subprocess::run(self::ADD_TEN . <<<'PHP'
            register_shutdown_function(fn () => $buffer->addTrade(trade(11)));
            class D { public $b; function __destruct() { $this->b->addTrade(trade(12)); } }
            $d = new D;
            $d->b = $buffer;
            PHP);
        self::assertSame(0, $child->exitCode, $child->output());
        self::assertTrades(range(1, 12), $child->output());
    }

    public function testAFirstBufferMadeInAShutdownFunctionDrains(): void
    {
        $child = Subprocess::run('register_shutdown_function(function () use ($options) {' . self::ADD_TEN . '});');
        self::assertSame(0, $child->exitCode, $child->output());
        self::assertTrades(range(1, 10), $child->output());
    }

    public function testSigtermWithoutAHandlerEndsTheProcessAtOnce(): void
    {
        $child = Subprocess::start(self::ADD_TEN . <<<'PHP'
            $buffer->flush();
            $buffer->addTrade(trade(11));
            echo "ready\n";
            sleep(60);
            PHP)->waitFor('ready');
        $child->kill(SIGTERM)->wait(10);
        self::assertSame(SIGTERM, $child->signal, $child->output());
        $matches = self::writtenMatches();
        self::assertSame(range(1, 10), array_slice($matches, 0, 10));
        self::assertLessThanOrEqual(11, count($matches));
    }

    public function testSignalsReachPhpAndNotTheWriter(): void
    {
        $child = Subprocess::start(<<<'PHP'
            $buffer = new WriteBuffer(5, 5, 3, $options);
            pcntl_async_signals(true);
            $seen = 0;
            pcntl_signal(SIGUSR1, function () use (&$seen) { $seen++; });
            $buffer->addTrade(trade(1));
            $buffer->flush();
            echo "ready\n";
            for ($match = 2; !$seen || $match <= 10; $match++) { $buffer->addTrade(trade($match)); usleep(20_000); }
            echo "seen $seen\n";
            PHP)->waitFor('ready');
        $child->kill(SIGUSR1)->wait(20);
        self::assertSame(0, $child->exitCode, $child->output());
        self::assertStringContainsString('seen 1', $child->stdout());
    }

    public function testAnOpenTransactionAtTheEndIsRolledBackWithAWarning(): void
    {
        $child = Subprocess::run(self::ADD_TEN . '$buffer->beginTransaction(); $buffer->addTrade(trade(11));');
        self::assertSame(0, $child->exitCode, $child->output());
        self::assertStringContainsString('transaction', $child->stderr());
        self::assertTrades(range(1, 10), $child->output());
    }

    /** @return iterable<string, array{string}> */
    public static function makes(): iterable
    {
        yield 'private' => ['$buffer = new WriteBuffer(1_000_000, 86_400_000, 3, $options);'];
        yield 'named' => ['$buffer = WriteBuffer::open("fork", $options + ["flush_interval_ms" => 86_400_000]);'];
    }

    /** @dataProvider makes */
    #[DataProvider('makes')]
    public function testAForkBeforeTheFirstAdd(string $make): void
    {
        $child = Subprocess::run($make . <<<'PHP'
            if (pcntl_fork() === 0) {
                for ($match = 101; $match <= 105; $match++) $buffer->addTrade(trade($match));
                exit(0);
            }
            for ($match = 1; $match <= 10; $match++) $buffer->addTrade(trade($match));
            pcntl_wait($status);
            echo pcntl_wexitstatus($status);
            PHP);
        self::assertSame([0, '0'], [$child->exitCode, $child->stdout()], $child->output());
        self::assertTrades([...range(1, 10), ...range(101, 105)], $child->output());
    }

    /** @dataProvider makes */
    #[DataProvider('makes')]
    public function testAForkAfterTheFirstAdd(string $make): void
    {
        $child = Subprocess::run($make . <<<'PHP'
            for ($match = 1; $match <= 5; $match++) $buffer->addTrade(trade($match));
            if (pcntl_fork() === 0) {
                echo count($buffer), $buffer->sequence(), $buffer->find('orders', 1) === null ? 'n' : 'f';
                for ($match = 101; $match <= 105; $match++) $buffer->addTrade(trade($match));
                echo $buffer->sequence(), $buffer->flush()->getTradesWritten(), "\n";
                exit(0);
            }
            pcntl_wait($status);
            for ($match = 6; $match <= 10; $match++) $buffer->addTrade(trade($match));
            echo pcntl_wexitstatus($status), count($buffer);
            PHP);
        self::assertSame([0, "00n55\n010"], [$child->exitCode, $child->stdout()], $child->output());
        self::assertTrades([...range(1, 10), ...range(101, 105)], $child->output());
    }

    /** @dataProvider makes */
    #[DataProvider('makes')]
    public function testAForkWhileTheParentWrites(string $make): void
    {
        $make = str_replace('86_400_000', '1', $make);
        $child = Subprocess::run($make . <<<'PHP'
            $children = [];
            for ($match = 1; $match <= 2_000; $match++) {
                $buffer->addTrade(trade($match));
                if ($match % 400 === 0) {
                    $pid = pcntl_fork();
                    if ($pid === 0) {
                        // One child writes, the next only goes.
                        if ($match % 800 === 0) $buffer->addTrade(trade(10_000 + $match));
                        exit(0);
                    }
                    $children[] = $pid;
                }
            }
            foreach ($children as $pid) { pcntl_waitpid($pid, $status); echo pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 's'; }
            PHP, [], 60);
        self::assertSame([0, '00000'], [$child->exitCode, $child->stdout()], $child->output());
        self::assertTrades([...range(1, 2_000), 10_800, 11_600], $child->output());
    }

    public function testAChildThatNeverTouchesTheBufferLeavesItAlone(): void
    {
        $child = Subprocess::run(self::ADD_TEN . <<<'PHP'
            if (pcntl_fork() === 0) { unset($buffer); gc_collect_cycles(); exit(0); }
            pcntl_wait($status);
            echo pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 's', count($buffer);
            PHP);
        self::assertSame([0, '010'], [$child->exitCode, $child->stdout()], $child->output());
        self::assertTrades(range(1, 10), $child->output());
    }

    public function testAnOpenTransactionIsNotTheChilds(): void
    {
        $child = Subprocess::run(self::ADD_TEN . <<<'PHP'
            $buffer->beginTransaction();
            $buffer->addTrade(trade(11));
            if (pcntl_fork() === 0) {
                try { $buffer->commit(); echo 'committed'; } catch (WriteBuffer\Exception\TransactionException) { echo 'none '; }
                exit(0);
            }
            pcntl_wait($status);
            echo $buffer->commit();
            PHP);
        self::assertSame([0, 'none 11'], [$child->exitCode, $child->stdout()], $child->output());
        self::assertTrades(range(1, 11), $child->output());
    }

    public function testADaemonThatForksAndLeavesItsParentWrites(): void
    {
        $child = Subprocess::run(self::ADD_TEN . <<<'PHP'
            if (pcntl_fork() > 0) exit(0);
            posix_setsid();
            for ($match = 101; $match <= 105; $match++) $buffer->addTrade(trade($match));
            PHP);
        self::assertSame(0, $child->exitCode, $child->output());
        $this->eventually(static fn (): bool => count(self::writtenMatches()) >= 15, 'the daemon has written');
        self::assertTrades([...range(1, 10), ...range(101, 105)], $child->output());
    }

    public function testAnUnreachableServerAtTheEndIsSaidOnStderr(): void
    {
        $child = Subprocess::run(<<<'PHP'
            $buffer = new WriteBuffer(100, 86_400_000, 1_000, ['dsn' => 'mysql://app:hunter2@127.0.0.1:1/spot', 'drain_timeout_ms' => 300]);
            for ($id = 1; $id <= 7; $id++) $buffer->addOrder($id, ['status' => 'new']);
            PHP);
        self::assertSame(0, $child->exitCode, $child->output());
        self::assertMatchesRegularExpression('/write_buffer: 7 row/', $child->stderr());
        self::assertStringNotContainsString('hunter2', $child->output());
        self::assertSame('', $child->stdout());
    }

    public function testRowsThatCannotBeWrittenAtTheEndAreSpilled(): void
    {
        $directory = $this->newDirectory();
        $child = Subprocess::run(<<<'PHP'
            $buffer = new WriteBuffer(100, 86_400_000, 1_000, ['dsn' => 'mysql://app:hunter2@127.0.0.1:1/spot',
                'drain_timeout_ms' => 300, 'journal_dir' => getenv('DIRECTORY'), 'name' => 'spill']);
            $buffer->addOrder(1, ['status' => 'new']);
            $buffer->transaction(function ($buffer) {
                $buffer->addOrder(1, ['status' => 'executed']);
                $buffer->addBalanceUpdate(2, 'usd', ['balance' => '-1.50']);
            });
            PHP, ['DIRECTORY' => $directory]);
        self::assertSame(0, $child->exitCode, $child->output());
        $files = glob("$directory/*") ?: [];
        self::assertCount(1, $files, $child->output());
        self::assertStringStartsWith("$directory/spill.", $files[0]);
        self::assertStringContainsString($files[0], $child->stderr());
        self::assertMatchesRegularExpression('/3 row/', $child->stderr());
        self::assertSame([0700, 0600], [fileperms($directory) & 0777, fileperms($files[0]) & 0777]);
        $groups = array_map(static fn (string $line): array => json_decode($line, true), file($files[0]) ?: []);
        self::assertSame([[1, 1], [2, 3]], array_map(static fn (array $g): array => [$g['first'], $g['last']], $groups));
        self::assertEquals(
            [
                'table' => 'balances',
                'change' => 'add',
                'row' => ['user_id' => 2, 'currency' => 'usd', 'balance' => '-1.50'],
                'target' => ['table' => 'spot_usd_accounts', 'key' => ['id' => '2'], 'sums' => true],
                'delta' => ['balance'],
            ],
            $groups[1]['rows'][1]
        );
        self::assertStringNotContainsString('hunter2', (string) file_get_contents($files[0]));
    }

    public function testWithoutADsnTheEndSaysWhatIsLost(): void
    {
        $child = Subprocess::run('$b = new WriteBuffer(); $b->addOrder(1, ["status" => "new"]); $b->addTrade(trade(1));');
        self::assertSame(0, $child->exitCode, $child->output());
        self::assertMatchesRegularExpression('/write_buffer: 2 row/', $child->stderr());
    }

    public function testAnEndThatNobodyListensToIsOrderly(): void
    {
        $arguments = implode(' ', array_map('escapeshellarg', Subprocess::arguments()));
        $code = escapeshellarg('$b = new WriteBuffer(); $b->addOrder(1, ["status" => "new"]); fclose(STDIN);');
        // Nobody reads what comes to the pipe: each write to it fails.
        exec("bash -c " . escapeshellarg("set -o pipefail; { sleep 0.2; exec " . PHP_BINARY . " $arguments -r $code; } 2>&1 >/dev/null | :"), $output, $status);
        self::assertSame(0, $status, implode("\n", $output));
    }

    public function testAnEmptyBufferEndsInSilence(): void
    {
        $child = Subprocess::run('$b = new WriteBuffer(options: $options); $c = WriteBuffer::open("quiet"); $c->flush(); $b->clear();');
        self::assertSame([0, '', ''], [$child->exitCode, $child->stdout(), $child->stderr()]);
    }

    public function testTheModuleAloneStartsNoThreadAndOpensNoFile(): void
    {
        $look = 'echo json_encode([count(scandir("/proc/self/task")) - 2, count(scandir("/proc/self/fd"))]);';
        $with = Subprocess::php([...Subprocess::arguments(), '-r', $look]);
        $without = Subprocess::php(['-r', $look]);
        self::assertSame(1, json_decode($with->stdout())[0], $with->output());
        self::assertSame($without->stdout(), $with->stdout());
        $idle = Subprocess::php([...Subprocess::arguments(), '-r', '$b = new WriteBuffer(); ' . $look]);
        self::assertSame($without->stdout(), $idle->stdout(), 'a buffer without a row');
        $bare = Subprocess::php([...Subprocess::arguments(), '-r', '']);
        self::assertSame([0, '', ''], [$bare->exitCode, $bare->stdout(), $bare->stderr()]);
    }

    public function testTheThreadOfAClosedBufferEnds(): void
    {
        $child = Subprocess::run(self::ADD_TEN . <<<'PHP'
            $threads = fn () => count(scandir("/proc/self/task")) - 2;
            $buffer->flush();
            echo $threads() > 1 ? 'some ' : 'none ';
            $buffer->close();
            for ($i = 0; $i < 1_000 && $threads() > 1; $i++) usleep(10_000);
            echo $threads();
            PHP);
        self::assertSame('some 1', $child->stdout(), $child->output());
    }

    public function testManyPrivateBuffersLeaveNoThreadsBehind(): void
    {
        $child = Subprocess::run(<<<'PHP'
            $threads = fn () => count(scandir("/proc/self/task")) - 2;
            for ($match = 1; $match <= 40; $match++) {
                $buffer = new WriteBuffer(100, 10, 3, $options);
                $buffer->addTrade(trade($match));
                $match % 2 || $buffer->flush();
            }
            unset($buffer);
            for ($i = 0; $i < 2_000 && $threads() > 1; $i++) usleep(10_000);
            echo $threads();
            PHP, [], 60);
        self::assertSame('1', $child->stdout(), $child->output());
        self::assertTrades(range(1, 40), $child->output());
    }

    /** @return iterable<string, array{string, string}> */
    public static function ways(): iterable
    {
        yield 'nothing given' => ['new WriteBuffer()', '{"max_buffer_size":11,"flush_interval_ms":44,"max_retries":33}'];
        yield 'the last by name' => ['new WriteBuffer(maxRetries: 9)', '{"max_buffer_size":11,"flush_interval_ms":44,"max_retries":9}'];
        yield 'the first' => ['new WriteBuffer(7)', '{"max_buffer_size":7,"flush_interval_ms":44,"max_retries":33}'];
        yield 'all' => ['new WriteBuffer(100, 500, 3)', '{"max_buffer_size":100,"flush_interval_ms":500,"max_retries":3}'];
        yield 'options' => ['new WriteBuffer(options: ["max_retries" => 8])', '{"max_buffer_size":11,"flush_interval_ms":44,"max_retries":8}'];
        yield 'a name' => ['WriteBuffer::open("a", ["max_retries" => 8])', '{"max_buffer_size":11,"flush_interval_ms":44,"max_retries":8}'];
    }

    /** @dataProvider ways */
    #[DataProvider('ways')]
    public function testWhatIsNotGivenComesFromTheEnvironmentAndThenFromIni(string $make, string $expected): void
    {
        $ini = ['-d', 'write_buffer.max_buffer_size=11', '-d', 'write_buffer.flush_interval_ms=22', '-d', 'write_buffer.max_retries=33'];
        $code = "putenv('WRITE_BUFFER_FLUSH_INTERVAL_MS=44'); echo json_encode(array_slice(($make)->getStats()['config'], 0, 3));";
        $child = Subprocess::php([...Subprocess::arguments(), ...$ini, '-r', $code]);
        self::assertSame($expected, $child->stdout(), $child->output());
    }

    public function testABadIniSettingIsAConfigurationExceptionThatNamesIt(): void
    {
        $code = 'try { new WriteBuffer(); } catch (WriteBuffer\Exception\ConfigurationException $e) { echo $e->getMessage(); }';
        $child = Subprocess::php([...Subprocess::arguments(), '-d', 'write_buffer.max_buffer_size=many', '-r', $code]);
        self::assertStringContainsString('write_buffer.max_buffer_size', $child->stdout(), $child->output());
        self::assertStringContainsString('many', $child->stdout());
    }

    public function testTheDsnComesFromTheEnvironmentAndNeverFromIni(): void
    {
        $code = '$b = new WriteBuffer(1_000, 86_400_000); $b->addTrade(trade(1)); echo $b->flush()->isSuccess() ? "written" : "not";';
        self::assertSame('written', Subprocess::run($code, ['WRITE_BUFFER_DSN' => Database::dsn()])->stdout());
        self::assertFalse(ini_get('write_buffer.dsn'));
        $info = Subprocess::php([...Subprocess::arguments(), '-i']);
        self::assertStringContainsString('write_buffer.max_buffer_size', $info->stdout());
        self::assertStringNotContainsString('write_buffer.dsn', $info->stdout());
    }

    /** @param list<int> $expected */
    private static function assertTrades(array $expected, string $message): void
    {
        self::assertSame($expected, self::writtenMatches(), $message);
    }

    /** @return list<int> */
    private static function writtenMatches(): array
    {
        return array_map('intval', array_column(Database::rows('SELECT match_id FROM order_transactions ORDER BY match_id'), 'match_id'));
    }
}
