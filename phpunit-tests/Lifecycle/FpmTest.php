<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Lifecycle;

use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer\Tests\Support\CrashScenario;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\FastCgiRequest;
use WriteBuffer\Tests\Support\PhpFpm;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * Under php-fpm a named buffer outlives the request, and however a child ends, each row is
 * written once: by the child where it is allowed to end, else by whoever opens the journal next.
 */
final class FpmTest extends DatabaseTestCase
{
    /** A buffer that writes at its end; a request adds as many trades as it is told to. */
    private const ADD = <<<'PHP'
        ob_start();
        $journal = getenv('DIRECTORY') ? ['journal' => 'process', 'journal_dir' => getenv('DIRECTORY')] : [];
        $buffer = WriteBuffer::open('fpm', $journal + $options + ['max_buffer_size' => 1_000_000, 'flush_interval_ms' => 86_400_000]);
        $first = (int) ($_GET['first'] ?? 0);
        for ($match = $first; $first && $match < $first + ($_GET['count'] ?? 1); $match++) $buffer->addTrade(trade($match));
        echo getmypid(), ' ', $buffer->sequence();

        PHP;

    private string $journal;

    protected function setUp(): void
    {
        parent::setUp();
        if (PhpFpm::missing() !== null) {
            self::markTestSkipped((string) PhpFpm::missing());
        }
        $this->journal = sys_get_temp_dir() . '/write-buffer-fpm-journal-' . bin2hex(random_bytes(6));
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        isset($this->journal) && CrashScenario::removeTree($this->journal);
    }

    public function testANamedBufferOutlivesTheRequestAndEndsWithTheChild(): void
    {
        $fpm = new PhpFpm(['www' => []]);
        $script = $fpm->script('add', self::ADD);
        $first = $fpm->get($script, ['first' => 1, 'count' => 5]);
        $second = $fpm->get($script, ['first' => 6, 'count' => 5]);
        [$pid] = explode(' ', $first->body());
        self::assertSame(["$pid 5", "$pid 10"], [$first->body(), $second->body()], $fpm->output());
        self::assertSame([], CrashScenario::trades());
        $fpm->stop();
        self::assertSame(range(1, 10), CrashScenario::trades(), $fpm->output());
        self::assertQuiet($fpm);
    }

    /** Without this the tests here would take a child that hangs or crashes as it ends for a good one. */
    public function testAChildThatIsKilledWhilePhpFpmStopsIsSeen(): void
    {
        $fpm = new PhpFpm(['www' => []], ['process_control_timeout' => 1]);
        posix_kill($fpm->children()[0], SIGSTOP);
        $fpm->stop();
        self::assertMatchesRegularExpression('/child \d+ exited on signal 9/', $fpm->output());
    }

    /** @return iterable<string, array{string, int}> */
    public static function requestEnds(): iterable
    {
        yield 'exit' => ['exit("x");', 200];
        yield 'an uncaught exception' => ['throw new Exception("no");', 500];
        yield 'a fatal error' => ['no_such_function();', 500];
        yield 'the memory limit' => ['ini_set("memory_limit", "16M"); $x = str_repeat("x", 1 << 30);', 500];
        yield 'the time limit' => ['set_time_limit(1); while (true);', 500];
        yield 'an open transaction' => ['$buffer->beginTransaction(); $buffer->addTrade(trade(99));', 200];
        yield 'a finished request' => ['$buffer->clear(); fastcgi_finish_request(); for ($i = 1; $i <= 3; $i++) $buffer->addTrade(trade($i));', 200];
    }

    /** @dataProvider requestEnds */
    #[DataProvider('requestEnds')]
    public function testTheNextRequestGoesOnAfter(string $end, int $status): void
    {
        $fpm = new PhpFpm(['www' => []]);
        $next = $fpm->script('add', self::ADD);
        $children = $fpm->children();
        $first = $fpm->get($fpm->script('end', self::ADD . $end), ['first' => 1, 'count' => 3]);
        self::assertSame([true, $status], [$first->isComplete(), $first->status()], $fpm->output());
        [$pid] = explode(' ', $fpm->get($next, ['first' => 5, 'count' => 3])->body());
        self::assertSame($children, [(int) $pid], 'the same child');
        $fpm->stop();
        self::assertSame([1, 2, 3, 5, 6, 7], CrashScenario::trades(), $fpm->output());
        self::assertQuiet($fpm);
    }

    public function testABufferOfARequestIsWrittenAfterIt(): void
    {
        $fpm = new PhpFpm(['www' => []]);
        $script = $fpm->script('private', '$b = new WriteBuffer(1_000_000, 86_400_000, 3, $options); $b->addTrade(trade((int) $_GET["first"]));');
        foreach (range(1, 20) as $match) {
            self::assertTrue($fpm->get($script, ['first' => $match])->isComplete(), $fpm->output());
        }
        $this->eventually(static fn (): bool => count(CrashScenario::trades()) === 20, 'the rows are written');
        $threads = static fn (): int => count(glob("/proc/{$fpm->children()[0]}/task/*") ?: []);
        $this->eventually(static fn (): bool => $threads() <= 4, 'threads end with their buffers');
        $fpm->stop();
        self::assertQuiet($fpm);
    }

    /** @return iterable<string, array{callable(PhpFpm): void}> */
    public static function orderlyEnds(): iterable
    {
        yield 'a graceful stop' => [static fn (PhpFpm $fpm) => $fpm->stop()];
        yield 'a reload' => [static fn (PhpFpm $fpm) => $fpm->reload()];
    }

    /** @dataProvider orderlyEnds */
    #[DataProvider('orderlyEnds')]
    public function testAllChildrenDrainAt(callable $end): void
    {
        $fpm = new PhpFpm(['www' => ['pm.max_children' => 4]]);
        $script = $fpm->script('add', self::ADD . 'usleep(20_000);');
        self::together($fpm, $script, 20);
        $end($fpm);
        self::assertSame(range(1, 20), CrashScenario::trades(), $fpm->output());
        if ($fpm->isRunning()) {
            self::together($fpm, $script, 20, 101);
            $fpm->stop();
        }
        self::assertSame([], array_diff(range(1, 20), CrashScenario::trades()), $fpm->output());
        self::assertQuiet($fpm);
    }

    public function testAChildThatHasServedItsRequestsDrains(): void
    {
        $fpm = new PhpFpm(['www' => ['pm.max_requests' => 5]]);
        $script = $fpm->script('add', self::ADD);
        $pids = [];
        for ($match = 1; $match <= 20; $match++) {
            $pids[] = explode(' ', $fpm->get($script, ['first' => $match])->body())[0];
        }
        self::assertSame(4, count(array_unique($pids)), $fpm->output());
        $this->eventually(static fn (): bool => count(CrashScenario::trades()) === 20, 'each child has drained');
        $fpm->stop();
        self::assertQuiet($fpm);
    }

    /** @return iterable<string, array{array<string, string|int>, int}> settings, and how many children stay idle */
    public static function managers(): iterable
    {
        yield 'dynamic' => [['pm' => 'dynamic', 'pm.max_children' => 4, 'pm.start_servers' => 1, 'pm.min_spare_servers' => 1, 'pm.max_spare_servers' => 1], 1];
        yield 'ondemand' => [['pm' => 'ondemand', 'pm.max_children' => 4, 'pm.process_idle_timeout' => '1s'], 0];
    }

    /**
     * Also where FPM, told to end, waits for nobody.
     *
     * @dataProvider managers
     * @param array<string, string|int> $pool
     */
    #[DataProvider('managers')]
    public function testAChildThatIsIdleTooLongDrains(array $pool, int $idle): void
    {
        $fpm = new PhpFpm(['www' => $pool], ['process_control_timeout' => 0]);
        $added = $this->untilIdle($fpm, self::ADD, $idle);
        $gone = array_diff($added, $fpm->children());
        self::assertNotSame([], $gone, $fpm->output());
        $this->eventually(static fn (): bool => array_diff(array_keys($gone), CrashScenario::trades()) === [], 'who is gone has drained');
        self::assertQuiet($fpm);
        $fpm->stop();
    }

    /**
     * @dataProvider managers
     * @param array<string, string|int> $pool
     */
    #[DataProvider('managers')]
    public function testWhatAnIdleChildCannotDrainIsTakenOverOnce(array $pool, int $idle): void
    {
        $fpm = new PhpFpm(['www' => $pool], [], [], ['DIRECTORY' => $this->journal]);
        $lock = Database::blockWrites('order_transactions');
        $added = $this->untilIdle($fpm, '$options["drain_timeout_ms"] = 300;' . self::ADD, $idle);
        self::assertSame([], CrashScenario::trades(), $fpm->output());
        self::assertStringContainsString('they are in the journal', $fpm->output());
        $lock->exec('ROLLBACK');
        // Whoever comes takes them over; what is not yet written then, it writes at its end.
        $next = $fpm->script('next', self::ADD);
        $fpm->get($next);
        $fpm->stop();
        $this->recover($next);
        self::assertSame(array_keys($added), CrashScenario::trades(), $fpm->output());
        self::assertSame([], glob("$this->journal/fpm/*"), $fpm->output());
        self::assertSame([], $fpm->cores());
    }

    /** @return iterable<string, array{callable(PhpFpm): void, 1?: array<string, string|int>, 2?: string}> */
    public static function abruptEnds(): iterable
    {
        yield 'a stop at once' => [static fn (PhpFpm $fpm) => $fpm->stop(SIGTERM)];
        yield 'a reload that waits for nobody' => [static fn (PhpFpm $fpm) => $fpm->reload()];
        yield 'a killed child' => [static fn (PhpFpm $fpm) => posix_kill($fpm->children()[0], SIGKILL)];
        yield 'a child that crashes' => [static fn (PhpFpm $fpm) => posix_kill($fpm->children()[0], SIGSEGV)];
        yield 'a request that takes too long' => [
            static fn (PhpFpm $fpm) => $fpm->get($fpm->script('slow', 'sleep(20);')), ['request_terminate_timeout' => 1],
        ];
    }

    /**
     * @dataProvider abruptEnds
     * @param array<string, string|int> $pool
     */
    #[DataProvider('abruptEnds')]
    public function testTheJournalKeepsWhatAChildAcceptedBefore(callable $end, array $pool = []): void
    {
        $fpm = new PhpFpm(['www' => $pool], ['process_control_timeout' => 0], [], ['DIRECTORY' => $this->journal]);
        $script = $fpm->script('add', self::ADD);
        [$pid] = explode(' ', $fpm->get($script, ['first' => 1, 'count' => 10])->body());
        $end($fpm);
        $this->eventually(static fn (): bool => !PhpFpm::isAlive((int) $pid), 'the child is gone');
        if ($fpm->isRunning()) {
            $next = $fpm->get($script);
            self::assertNotSame($pid, explode(' ', $next->body())[0]);
            $this->eventually(static fn (): bool => CrashScenario::trades() === range(1, 10), 'the next child has written them');
            // It is killed as well, and leaves nothing but its empty directory.
            $fpm->stop();
        }
        $this->recover($script);
        self::assertSame(range(1, 10), CrashScenario::trades(), $fpm->output());
        self::assertSame([], glob("$this->journal/fpm/*"), $fpm->output());
    }

    public function testPreloadedClassesThatImplementTheInterfaceWork(): void
    {
        $directory = $this->newDirectory();
        mkdir($directory, 0700);
        file_put_contents("$directory/preload.php", '<?php final class Own implements WriteBuffer\\WriteBufferInterface {
            public function __construct(private WriteBuffer $inner) {}
            public function addOrder(int $orderId, array $data): void { $this->inner->addOrder($orderId, $data); }
            public function addTrade(array $data): void { $this->inner->addTrade($data); }
            public function addBalanceUpdate(int $userId, string $currency, array $changes): void { $this->inner->addBalanceUpdate($userId, $currency, $changes); }
            public function flush(): WriteBuffer\\FlushResult { return $this->inner->flush(); }
            public function shouldFlush(): bool { return $this->inner->shouldFlush(); }
            public function getStats(): array { return $this->inner->getStats(); }
            public function clear(): void { $this->inner->clear(); }
        }');
        $fpm = new PhpFpm(['www' => ['pm.max_children' => 2]], [], self::preload("$directory/preload.php"));
        $script = $fpm->script('own', '$own = new Own(WriteBuffer::open("own", $options)); $own->addTrade(trade((int) $_GET["first"])); echo $own->flush()->getTradesWritten();');
        self::assertSame('1', $fpm->get($script, ['first' => 1])->body(), $fpm->output());
        $fpm->reload();
        self::assertSame('1', $fpm->get($script, ['first' => 2])->body(), $fpm->output());
        $fpm->stop();
        self::assertSame([1, 2], CrashScenario::trades());
        self::assertQuiet($fpm);
    }

    /** The master then has a writer's thread when it forks each child, and ends without PHP's own shutdown. */
    public function testABufferThatThePreloadScriptOpensIsTheMastersAlone(): void
    {
        $directory = $this->newDirectory();
        mkdir($directory, 0700);
        $open = '$o = ["dsn" => getenv("WRITE_BUFFER_TEST_DSN"), "journal" => "process", "journal_dir" => getenv("DIRECTORY")];
            $buffer = WriteBuffer::open("fpm", $o);';
        file_put_contents("$directory/preload.php", "<?php $open " . '$buffer->addTrade(["match_id" => 1_000, "price" => "5", "quantity" => "1"]);');
        $pool = ['pm.max_children' => 4, 'pm.max_requests' => 3];
        $fpm = new PhpFpm(['www' => $pool], [], self::preload("$directory/preload.php"), ['DIRECTORY' => $this->journal]);
        $script = $fpm->script('add', "$open " . '$n = $buffer->addTrade(trade((int) $_GET["first"])); echo $n <= 3 ? "own" : "not";');
        for ($match = 1; $match <= 30; $match++) {
            self::assertSame('own', $fpm->get($script, ['first' => $match])->body(), $fpm->output());
        }
        $fpm->reload();
        $fpm->stop();
        $this->recover($fpm->script('end', $open));
        // The preload script ran twice; a trade that is there already counts as written.
        self::assertSame([...range(1, 30), 1_000], CrashScenario::trades(), $fpm->output());
        self::assertSame([], glob("$this->journal/fpm/*"), $fpm->output());
        self::assertSame([], $fpm->cores());
        self::assertStringNotContainsString('on signal', $fpm->output());
    }

    /** @return iterable<string, array{bool}> */
    public static function directories(): iterable
    {
        yield 'with a directory each' => [false];
        yield 'with one for both' => [true];
    }

    /** @dataProvider directories */
    #[DataProvider('directories')]
    public function testTwoPoolsDoNotTakeOverWhatLives(bool $shared): void
    {
        $pool = fn (string $name): array => ['pm.max_children' => 2, 'env[DIRECTORY]' => $shared ? "$this->journal/a" : "$this->journal/$name"];
        $fpm = new PhpFpm(['a' => $pool('a'), 'b' => $pool('b')]);
        $script = $fpm->script('add', self::ADD . 'usleep(20_000);');
        foreach (['a', 'b'] as $at => $name) {
            self::together($fpm, $script, 8, 1 + 100 * $at, $name);
        }
        self::assertSame([], CrashScenario::trades(), $fpm->output());
        self::assertSame($shared ? 1 : 2, count(glob("$this->journal/*") ?: []));
        [$pid] = explode(' ', $fpm->get($script, ['first' => 301], 'a')->body());
        posix_kill((int) $pid, SIGKILL);
        $this->eventually(static fn (): bool => !PhpFpm::isAlive((int) $pid), 'the child is gone');
        $fpm->stop();
        $this->recover($script, 'a');
        self::assertSame([...range(1, 8), ...range(101, 108), 301], CrashScenario::trades(), $fpm->output());
        foreach (glob("$this->journal/*") ?: [] as $directory) {
            self::assertSame([], glob("$directory/fpm/*"), $fpm->output());
        }
    }

    public function testTheMasterStartsNoThreadAndOpensNoFileOfABuffer(): void
    {
        $fpm = new PhpFpm(['www' => []], [], [], ['DIRECTORY' => $this->journal]);
        $fpm->get($fpm->script('add', self::ADD), ['first' => 1]);
        self::assertCount(1, glob("/proc/{$fpm->pid()}/task/*") ?: []);
        foreach (glob("/proc/{$fpm->pid()}/fd/*") ?: [] as $file) {
            self::assertStringNotContainsString($this->journal, (string) @readlink($file));
        }
        self::assertGreaterThan(1, count(glob("/proc/{$fpm->children()[0]}/task/*") ?: []));
        $fpm->stop();
        self::assertSame([1], CrashScenario::trades());
    }

    /** @return list<string> */
    private static function preload(string $file): array
    {
        $user = posix_getpwuid(posix_geteuid())['name'] ?? 'root';
        return ['-d', 'zend_extension=opcache', '-d', 'opcache.enable=1', '-d', "opcache.preload=$file", '-d', "opcache.preload_user=$user"];
    }

    /** Requests at once, each of which adds one trade. */
    private static function together(PhpFpm $fpm, string $script, int $requests, int $first = 1, string $pool = 'www'): void
    {
        $all = array_map(
            static fn (int $at) => new FastCgiRequest($fpm->socket($pool), $script, ['first' => $first + $at]),
            range(0, $requests - 1)
        );
        foreach ($all as $request) {
            self::assertTrue($request->wait()->isComplete(), $fpm->output());
        }
    }

    /**
     * Two requests at once, each of which adds one trade, and then none until the children that
     * are not needed have been ended.
     *
     * @return array<int, int> process by trade
     */
    private function untilIdle(PhpFpm $fpm, string $code, int $idle): array
    {
        // The first one keeps its child busy, so that the second needs another: it would wait for
        // the first child if that were not known to be busy when it comes.
        $script = $fpm->script('add', $code . 'if ($first === 1) { touch("began"); while (!file_exists("go")) { usleep(2_000); clearstatcache(); } }');
        $first = new FastCgiRequest($fpm->socket('www'), $script, ['first' => 1]);
        $this->eventually(static fn (): bool => file_exists("$fpm->directory/began"), 'the first request is served');
        $second = $fpm->get($script, ['first' => 2]);
        touch("$fpm->directory/go");
        $added = [1 => (int) $first->wait()->body(), 2 => (int) $second->body()];
        self::assertNotSame($added[1], $added[2], $fpm->output());
        self::assertGreaterThan(0, min($added), $fpm->output());
        $this->eventually(static fn (): bool => count($fpm->children()) === $idle, 'idle children are ended', 30);
        return $added;
    }

    /** What a process does that opens the buffer when php-fpm is gone. */
    private function recover(string $script, string $below = ''): void
    {
        $environment = ['DIRECTORY' => rtrim("$this->journal/$below", '/')];
        $child = Subprocess::run(substr((string) file_get_contents($script), strlen(Subprocess::PREAMBLE)) . '$buffer->flush();', $environment);
        self::assertSame(0, $child->exitCode, $child->output());
    }

    /** Nobody was killed, crashed or said that rows are left. */
    private static function assertQuiet(PhpFpm $fpm): void
    {
        self::assertSame([], $fpm->cores());
        self::assertDoesNotMatchRegularExpression('/on signal|write_buffer: \d+ row/', $fpm->output());
    }
}
