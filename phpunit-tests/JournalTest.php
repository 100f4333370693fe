<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer;
use WriteBuffer\Exception\BufferFullException;
use WriteBuffer\Exception\JournalException;
use WriteBuffer\Tests\Support\CrashScenario;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\ServerControl;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * With a journal, whatever kills a process: what it accepted is written once and whole.
 */
final class JournalTest extends DatabaseTestCase
{
    private CrashScenario $scenario;

    protected function setUp(): void
    {
        $this->scenario = $this->newScenario('process');
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        $this->scenario->remove();
    }

    // --- killed ---

    public function testKilledWritersLoseNothingAndDoubleNothingRoundAfterRound(): void
    {
        for ($round = 1; $round <= 8; $round++) {
            $writer = $this->scenario->writer(100)->waitFor('ready');
            usleep(mt_rand(0, 60_000));
            $writer->kill(SIGKILL)->wait(10);
            self::assertSame(SIGKILL, $writer->signal, $writer->output());
        }
        self::assertNotSame([], $this->scenario->journals());
        $this->assertRecovers();
    }

    public function testSeveralDeadWritersAreTakenOverAtOnce(): void
    {
        $writers = [$this->scenario->writer(0), $this->scenario->writer(200), $this->scenario->writer(2_000)];
        foreach ($writers as $writer) {
            $writer->waitFor('ready');
        }
        usleep(50_000);
        foreach ($writers as $writer) {
            $writer->kill(SIGKILL)->wait(10);
        }
        $this->assertRecovers();
    }

    public function testARecoveryThatIsKilledIsRepeated(): void
    {
        $this->killAfter(300_000, 0);
        for ($attempt = 1; $attempt <= 4; $attempt++) {
            $recoverer = $this->scenario->recoverer()->waitFor('ready');
            usleep(mt_rand(0, 15_000));
            $recoverer->kill(SIGKILL)->wait(10);
        }
        $this->assertRecovers();
    }

    public function testNothingIsLostWhileTheDatabaseIsAway(): void
    {
        Database::createOrder(1);
        ServerControl::get()->away(fn () => $this->killAfter(80_000, 100));
        Database::execute('DELETE FROM orders WHERE id = 1');
        $this->assertRecovers();
        self::assertGreaterThan(0, $this->scenario->acknowledged());
    }

    /** @return iterable<string, array{string}> */
    public static function syncedModes(): iterable
    {
        yield 'interval' => ['interval'];
        yield 'always' => ['always'];
    }

    /** @dataProvider syncedModes */
    #[DataProvider('syncedModes')]
    public function testASyncedJournalRecoversToo(string $mode): void
    {
        $this->scenario->remove();
        $this->scenario = $this->newScenario($mode);
        for ($round = 1; $round <= 3; $round++) {
            $this->killAfter(60_000, 100);
        }
        self::assertGreaterThan(0, $this->scenario->acknowledged());
        $this->assertRecovers();
    }

    // --- who may take over what ---

    public function testALiveWritersJournalIsNotTakenOver(): void
    {
        $writer = $this->startPending(5);
        $before = $this->scenario->journals();
        self::assertCount(1, $before);
        $this->scenario->recover();
        self::assertSame($before, $this->scenario->journals());
        self::assertSame(0, Database::count('orders'));
        $writer->kill(SIGKILL)->wait(10);
        $this->scenario->recover();
        self::assertSame(range(1, 5), self::orders());
    }

    public function testManyProcessesThatOpenAtOnceShareNothing(): void
    {
        $this->killAfter(60_000, 50);
        $this->killAfter(60_000, 50);
        $children = [];
        for ($i = 0; $i < 8; $i++) {
            $children[] = Subprocess::start(CrashScenario::script(<<<'PHP'
                while (microtime(true) < (float) getenv('AT')) usleep(100);
                for ($i = 0; $i < 20; $i++) {
                    $buffer = new WriteBuffer(options: journal(['name' => 'crash']));
                    if ($i === 0) $buffer->flush(20_000);
                    $buffer->close();
                }
                echo 'done';
                PHP), $this->scenario->environment() + ['AT' => (string) (microtime(true) + 0.3)]);
        }
        foreach ($children as $child) {
            $child->wait(40);
            self::assertSame([0, 'done'], [$child->exitCode, $child->stdout()], $child->output());
        }
        $this->assertRecovers();
    }

    public function testAnotherSpellingOfTheDirectoryIsTheSameDirectory(): void
    {
        symlink('journal', "{$this->scenario->directory}/link");
        $child = $this->child(<<<'PHP'
            $first = WriteBuffer::open('crash', journal(['flush_interval_ms' => 86_400_000]));
            for ($id = 1; $id <= 5; $id++) group($first, $id);
            foreach (['/../link', '/../journal', '/.', '/'] as $other) {
                $second = new WriteBuffer(options: journal(['name' => 'crash', 'journal_dir' => getenv('DIRECTORY') . $other]));
                $second->flush();
            }
            echo count($first), ' ', count(glob(getenv('DIRECTORY') . '/crash/*/*.seg')) > 0 ? 'kept' : 'gone';
            PHP);
        // 5 trades, 5 orders and two accounts, merged; nobody has recovered anything.
        self::assertSame(['12 kept', ''], [$child->stdout(), $child->stderr()]);
        self::assertSame([], $this->auditOf(range(1, 5)));
    }

    public function testAChildLeavesItsParentsJournalAlone(): void
    {
        $child = $this->child(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal(['flush_interval_ms' => 86_400_000]));
            group($buffer, 1);
            for ($i = 2; $i <= 3; $i++) {
                if (pcntl_fork() === 0) {
                    group($buffer, $i);
                    unset($buffer);
                    exit(0);
                }
                pcntl_wait($status);
                echo pcntl_wifexited($status) ? pcntl_wexitstatus($status) : 's';
            }
            if (pcntl_fork() === 0) {
                unset($buffer);
                gc_collect_cycles();
                exit(0);
            }
            pcntl_wait($status);
            echo count(glob(getenv('DIRECTORY') . '/crash/*')), count($buffer);
            posix_kill(getmypid(), SIGKILL);
            PHP);
        self::assertSame('0014', $child->stdout(), $child->output());
        $this->scenario->recover();
        self::assertSame([], $this->auditOf([1, 2, 3]));
    }

    public function testAJournalOfAnotherDatabaseIsRefusedAndLeftAsItIs(): void
    {
        $this->killOnceRegistered();
        $before = self::contents($this->scenario->directory . '/journal');
        // To a writer, a database without its checkpoint is another one.
        $checkpoints = Database::rows("SELECT * FROM write_buffer_checkpoints WHERE writer LIKE 'crash-%'");
        self::assertCount(1, $checkpoints);
        Database::execute("DELETE FROM write_buffer_checkpoints WHERE writer LIKE 'crash-%'");
        $child = $this->child(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal());
            for ($i = 0, $told = 'silent'; $i < 500 && $told === 'silent'; $i++, usleep(10_000)) {
                try {
                    $buffer->addOrder(9_000_000 + $i, ['user_id' => 7, 'status' => 'new', 'quantity' => '1']);
                } catch (WriteBuffer\Exception\JournalException $refused) {
                    $told = $refused->getMessage();
                }
            }
            echo $told;
            PHP);
        self::assertMatchesRegularExpression('/checkpoint.*left as it (is|was)/', $child->stdout(), $child->output());
        self::assertStringContainsString(basename($this->scenario->journals()[0] ?? 'no journal'), $child->output());
        $after = self::contents($this->scenario->directory . '/journal');
        self::assertSame($before, array_intersect_key($after, $before));
        // Back on the right database nothing is missing.
        Database::execute("DELETE FROM orders WHERE id >= 9000000");
        Database::execute(sprintf(
            "INSERT INTO write_buffer_checkpoints (%s) VALUES ('%s')",
            implode(', ', array_keys($checkpoints[0])),
            implode("', '", $checkpoints[0])
        ));
        $this->assertRecovers();
    }

    public function testAFlushSaysThatAJournalWasRefused(): void
    {
        $this->killOnceRegistered();
        Database::execute("DELETE FROM write_buffer_checkpoints WHERE writer LIKE 'crash-%'");
        $child = $this->child(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal());
            try {
                $result = $buffer->flush(10_000);
                echo json_encode($result->isSuccess()), implode(' ', $result->getErrors());
            } catch (WriteBuffer\Exception\JournalException $refused) {
                echo 'false', $refused->getMessage();
            }
            PHP);
        self::assertMatchesRegularExpression('/^false.*journal/i', $child->stdout(), $child->output());
        self::assertNotSame([], $this->scenario->journals());
    }

    public function testTablesThatTheNewProcessDoesNotDeclareAreWrittenAsTheDeadOneDeclaredThem(): void
    {
        Database::create('wb_notes', 'k BIGINT PRIMARY KEY, n ' . Database::money() . ' NOT NULL');
        Database::execute("INSERT INTO wb_notes VALUES (1, '1')");
        $child = $this->child(<<<'PHP'
            $notes = ['mode' => 'delta', 'table' => 'wb_notes', 'key' => ['id' => 'k'], 'delta' => ['n']];
            $buffer = WriteBuffer::open('crash', journal(['tables' => ['notes' => $notes], 'flush_interval_ms' => 86_400_000]));
            $buffer->add('notes', ['id' => 1, 'n' => '0.5']);
            group($buffer, 1);
            $buffer->add('notes', ['n' => '0.25', 'id' => 1]);
            posix_kill(getmypid(), SIGKILL);
            PHP);
        self::assertSame(SIGKILL, $child->signal, $child->output());
        $this->scenario->recover();
        self::assertDecimal('1.75', Database::value('SELECT n FROM wb_notes'));
        self::assertSame([], $this->auditOf([1]));
        Database::drop('wb_notes');
    }

    // --- ends ---

    /** @return iterable<string, array{string}> */
    public static function ends(): iterable
    {
        yield 'the end of the script' => [''];
        yield 'close' => ['$buffer->close();'];
        yield 'exit' => ['exit(3);'];
        yield 'an uncaught exception' => ['throw new Exception("no");'];
        yield 'a fatal error for want of memory' => ['ini_set("memory_limit", "16M"); $x = str_repeat("x", 1 << 30);'];
        yield 'a dropped handle' => ['unset($buffer);'];
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testAnOrderlyEndLeavesNoJournal(string $end): void
    {
        $add = '$buffer = WriteBuffer::open("crash", journal()); for ($id = 1; $id <= 10; $id++) group($buffer, $id);';
        $child = $this->child($add . $end);
        self::assertNull($child->signal, $child->output());
        self::assertSame([], $this->auditOf(range(1, 10)), $child->output());
        self::assertSame([], $this->scenario->journals(), $child->output());
        self::assertSame(0, CrashScenario::checkpoints());
        self::assertStringNotContainsString('write_buffer:', $child->stderr());
    }

    public function testAJournalWithoutARowGoesWithItsProcess(): void
    {
        foreach (['', '$buffer->flush();', '$buffer->close();', 'unset($buffer);'] as $end) {
            $child = $this->child('$buffer = WriteBuffer::open("crash", journal());' . $end);
            self::assertSame([0, ''], [$child->exitCode, $child->stderr()], $child->output());
            self::assertSame([], $this->scenario->journals(), $end);
        }
    }

    public function testARowThatCannotBeWrittenAtTheEndStaysInTheJournal(): void
    {
        $child = $this->child(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal(['dsn' => 'mysql://app:hunter2@127.0.0.1:1/spot', 'drain_timeout_ms' => 300]));
            group($buffer, 1);
            group($buffer, 2);
            PHP);
        self::assertSame(0, $child->exitCode, $child->output());
        self::assertMatchesRegularExpression('/8 row.*journal/', $child->stderr());
        self::assertStringNotContainsString('hunter2', $child->output());
        self::assertCount(1, $this->scenario->journals());
        self::assertSame([], glob("{$this->scenario->directory}/journal/*.jsonl"));
        $this->scenario->recover();
        self::assertSame([], $this->auditOf([1, 2]));
    }

    // --- what was taken back ---

    public function testWhatClearDroppedDoesNotComeBack(): void
    {
        $child = $this->child(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal(['flush_interval_ms' => 86_400_000]));
            group($buffer, 1);
            $buffer->flush();
            group($buffer, 2);
            $buffer->clear();
            group($buffer, 3);
            $buffer->beginTransaction();
            $buffer->addOrder(4, ['user_id' => 7, 'status' => 'new', 'quantity' => '1']);
            $buffer->rollBack();
            $buffer->beginTransaction();
            $buffer->addOrder(5, ['user_id' => 7, 'status' => 'new', 'quantity' => '1']);
            posix_kill(getmypid(), SIGKILL);
            PHP);
        self::assertSame(SIGKILL, $child->signal, $child->output());
        $this->scenario->recover();
        self::assertSame([], $this->auditOf([1, 3]));
    }

    public function testRowsBehindManyDroppedOnesAreStillFound(): void
    {
        // The rows that fill the first segment are dropped while those before them are written.
        $child = $this->child(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal(['flush_interval_ms' => 86_400_000, 'retry_max_ms' => 20]));
            group($buffer, 1);
            $buffer->flush();
            $lock = lock();
            group($buffer, 2);
            $buffer->flush(200);
            for ($i = 0; $i < 5; $i++) {
                $buffer->addOrder(100 + $i, ['user_id' => 7, 'status' => str_repeat('x', 1_000_000), 'quantity' => '1']);
            }
            echo $buffer->clear() ?? 'dropped ';
            group($buffer, 3);
            unset($lock);
            echo $buffer->waitFor(8, 10_000) ? 'written ' : 'waiting ', count($buffer);
            usleep(20_000);
            posix_kill(getmypid(), SIGKILL);
            PHP, self::LOCK);
        self::assertSame('dropped written 4', $child->stdout(), $child->output());
        $this->scenario->recover();
        self::assertSame([], $this->auditOf([1, 2, 3]));
    }

    public function testARefusedGroupIsInQuarantineOnceAndTheRestIsWritten(): void
    {
        $child = $this->child(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal(['flush_interval_ms' => 86_400_000]));
            group($buffer, 1);
            $buffer->addOrder(50, ['user_id' => null, 'status' => 'new', 'quantity' => '1']);
            group($buffer, 2);
            posix_kill(getmypid(), SIGKILL);
            PHP);
        self::assertSame(SIGKILL, $child->signal, $child->output());
        $recoverer = $this->scenario->recoverer()->wait(30);
        self::assertSame(0, $recoverer->exitCode, $recoverer->output());
        $lines = file("{$this->scenario->directory}/journal/crash.quarantine.jsonl") ?: [];
        self::assertCount(1, $lines, $recoverer->output());
        self::assertStringContainsString('user_id', $lines[0]);
        unlink("{$this->scenario->directory}/journal/crash.quarantine.jsonl");
        self::assertSame([], $this->auditOf([1, 2]));
        self::assertSame([], $this->scenario->journals());
    }

    // --- the directory ---

    public function testADirectoryThatCannotBeMadeIsSaidAtOpen(): void
    {
        $file = "{$this->scenario->directory}/file";
        touch($file);
        foreach ([$file, "$file/below", '/proc/no/such/place'] as $place) {
            $error = self::thrown(JournalException::class, fn () => $this->buffer(['journal' => 'process', 'journal_dir' => $place]));
            self::assertStringContainsString($place, $error->getMessage());
            self::thrown(JournalException::class, static fn () => WriteBuffer::open('j-' . bin2hex(random_bytes(4)), [
                'dsn' => Database::dsn(), 'journal' => 'process', 'journal_dir' => $place,
            ]));
        }
    }

    public function testADirectoryThatVanishesIsSaidAtTheCallThatNeedsIt(): void
    {
        $directory = $this->newDirectory();
        $buffer = $this->bufferInMemory(['journal' => 'process', 'journal_dir' => $directory]);
        CrashScenario::removeTree($directory);
        $error = self::thrown(JournalException::class, static fn () => $buffer->addTrade(self::trade(1)));
        self::assertStringContainsString($directory, $error->getMessage());
        self::assertCount(0, $buffer);
    }

    public function testItsFilesAreForTheirOwnerAlone(): void
    {
        $directory = $this->newDirectory();
        $umask = umask(0);
        $buffer = $this->buffer(['journal' => 'process', 'journal_dir' => $directory, 'name' => 'modes']);
        $buffer->addTrade(self::trade(1));
        self::assertSucceeded($buffer->flush());
        umask($umask);
        $modes = array_map(static fn (string $path): string => sprintf('%o', fileperms($path) & 07777), [
            $directory, ...glob("$directory/*") ?: [], ...glob("$directory/*/*") ?: [], ...glob("$directory/*/*/*") ?: [],
        ]);
        self::assertSame(['700', '700', '700'], array_slice($modes, 0, 3));
        self::assertGreaterThanOrEqual(3, count($modes) - 3, 'lock, target and a segment');
        self::assertSame(['600'], array_values(array_unique(array_slice($modes, 3))));
        $note = (string) file_get_contents((glob("$directory/modes/*/target") ?: [''])[0]);
        self::assertStringNotContainsString(Database::isSqlite() ? '://:' : (Database::parts()['password'] ?: '://:'), $note);
    }

    public function testAFullDiskIsSaidAtTheCallAndCostsNothing(): void
    {
        Database::create('wb_large', 'id BIGINT PRIMARY KEY, text LONGTEXT NOT NULL');
        $place = "{$this->scenario->directory}/journal";
        mkdir($place, 0700);
        exec('mount -t tmpfs -o size=6m,mode=0700 tmpfs ' . escapeshellarg($place) . ' 2>&1', $output, $status);
        if ($status !== 0) {
            fwrite(STDERR, "\nA full disk is NOT tested: no tmpfs can be mounted here.\n");
            self::markTestSkipped('No tmpfs can be mounted here.');
        }
        try {
            $child = $this->child(<<<'PHP'
                $large = ['mode' => 'upsert', 'table' => 'wb_large', 'key' => 'id'];
                $buffer = WriteBuffer::open('crash', journal([
                    'flush_interval_ms' => 86_400_000, 'max_buffer_size' => 1_000_000, 'tables' => ['large' => $large],
                ]));
                group($buffer, 1);
                group($buffer, 2);
                for ($i = 0, $told = ''; $i < 20 && $told === ''; $i++) {
                    try {
                        $buffer->add('large', ['id' => $i, 'text' => str_repeat('x', 900_000)]);
                    } catch (WriteBuffer\Exception\JournalException $full) {
                        $told = $full->getMessage();
                    }
                }
                echo $told, ' ', $buffer->sequence() - 8 === $i - 1 ? 'alive' : 'lost count';
                // What is left of the segment still takes a small group.
                group($buffer, 3);
                posix_kill(getmypid(), SIGKILL);
                PHP);
            self::assertMatchesRegularExpression('/space.* alive$/i', $child->stdout(), $child->output());
            self::assertSame(SIGKILL, $child->signal);
        } finally {
            // What the dead process left moves to where there is room.
            exec('cp -a ' . escapeshellarg($place) . ' ' . escapeshellarg("$place-moved") . ' && umount ' . escapeshellarg($place)
                . ' && rmdir ' . escapeshellarg($place) . ' && mv ' . escapeshellarg("$place-moved") . ' ' . escapeshellarg($place));
        }
        $this->scenario->recover();
        self::assertSame([], $this->auditOf([1, 2, 3]));
        self::assertSame([4, 900_000], [Database::count('wb_large'), (int) Database::value('SELECT MIN(LENGTH(text)) FROM wb_large')]);
        Database::drop('wb_large');
    }

    // --- bounds and figures ---

    public function testAFullJournalIsAFullBufferAndRoomComesBack(): void
    {
        // The writer may take some before they are dropped: they must be rows that it can write.
        Database::create('wb_large', 'id BIGINT PRIMARY KEY, text LONGTEXT NOT NULL');
        $large = ['mode' => 'upsert', 'table' => 'wb_large', 'key' => 'id'];
        $buffer = $this->buffer(['journal' => 'process', 'journal_max_bytes' => 16 << 20, 'on_full' => 'throw', 'tables' => ['large' => $large]]);
        $fill = static function () use ($buffer): int {
            for ($rows = 0; $rows < 100; $rows++) {
                $buffer->add('large', ['id' => $rows % 3 + 1, 'text' => str_repeat('x', 500_000)]);
            }
            return $rows;
        };
        $full = self::thrown(BufferFullException::class, $fill);
        self::assertMatchesRegularExpression('/the journal has \d+ of 16777216 bytes.*journal_max_bytes/', $full->getMessage());
        $held = count($buffer);
        self::assertGreaterThan(0, $held);
        self::assertLessThanOrEqual(16 << 20, $buffer->getStats()['journal']['bytes']);
        $buffer->clear();
        $buffer->addTrade(self::trade(1));
        self::assertSucceeded($buffer->flush());
        self::thrown(BufferFullException::class, $fill);
    }

    public function testAJournalFullOfDroppedRowsTakesRowsAgain(): void
    {
        $buffer = $this->buffer(['journal' => 'process', 'journal_max_bytes' => 16 << 20, 'on_full' => 'block', 'block_timeout_ms' => 5_000]);
        for ($rows = 0; $rows < 60; $rows++) {
            $buffer->addOrder($rows + 1, ['user_id' => 7, 'status' => str_repeat('x', 900_000), 'quantity' => '1']);
            $buffer->clear();
        }
        $buffer->addTrade(self::trade(1));
        self::assertSucceeded($buffer->flush());
        self::assertSame(1, Database::count('order_transactions'));
    }

    public function testItsFiguresAreInTheStatistics(): void
    {
        $directory = $this->newDirectory();
        $buffer = $this->buffer(['journal' => 'process', 'journal_dir' => $directory]);
        self::assertSame(['process', 0, false, 0], $this->figures($buffer));
        $buffer->addTrade(self::trade(1));
        usleep(5_000);
        $journal = $buffer->getStats()['journal'];
        self::assertContains($journal['bytes'], [4 << 20, 8 << 20], 'one segment, and perhaps one ahead');
        self::assertGreaterThan(0, $journal['lag_ms']);
        self::assertSucceeded($buffer->flush());
        self::assertSame(0, (int) $buffer->getStats()['journal']['lag_ms']);
        Database::execute('DELETE FROM order_transactions');
        self::assertSame('off', $this->buffer()->getStats()['journal']['mode']);
        $this->killAfter(60_000, 100);
        $child = $this->child(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal());
            $buffer->flush(20_000);
            $journal = $buffer->getStats()['journal'];
            echo json_encode([$journal['recovering'], $journal['recovered'] % 4, is_string($journal['last_notice'])]);
            PHP);
        self::assertSame('[false,0,true]', $child->stdout(), $child->output());
        self::assertSame([], $this->scenario->audit());
    }

    // --- helpers ---

    /** @return list<mixed> */
    private function figures(WriteBuffer $buffer): array
    {
        $journal = $buffer->getStats()['journal'];
        return [$journal['mode'], $journal['bytes'], $journal['recovering'], $journal['recovered']];
    }

    private const LOCK = <<<'PHP'
        final class Lock { function __construct(private PDO $pdo) {} function __destruct() { $this->pdo->exec('ROLLBACK'); } }
        function lock(): Lock {
            $url = parse_url(getenv('WRITE_BUFFER_TEST_DSN'));
            if (str_starts_with(getenv('WRITE_BUFFER_TEST_DSN'), 'sqlite')) {
                $pdo = new PDO('sqlite:' . substr(getenv('WRITE_BUFFER_TEST_DSN'), strlen('sqlite://')));
                $pdo->exec('BEGIN IMMEDIATE');
            } else {
                $pdo = new PDO("mysql:host=$url[host];port=$url[port];dbname=" . ltrim($url['path'], '/'), rawurldecode($url['user']), rawurldecode($url['pass'] ?? ''));
                $pdo->exec('BEGIN');
                $pdo->query('SELECT * FROM spot_usd_accounts FOR UPDATE')->fetchAll();
            }
            return new Lock($pdo);
        }

        PHP;

    private function newScenario(string $mode): CrashScenario
    {
        return new CrashScenario(sys_get_temp_dir() . '/write-buffer-journal-' . bin2hex(random_bytes(6)), $mode);
    }

    private function child(string $code, string $preamble = ''): Subprocess
    {
        return Subprocess::start(CrashScenario::script($preamble . $code), $this->scenario->environment())->wait(60);
    }

    /** A writer that has been killed while it wrote. */
    private function killAfter(int $us, int $pauseUs): void
    {
        $writer = $this->scenario->writer($pauseUs)->waitFor('ready');
        usleep($us);
        $writer->kill(SIGKILL)->wait(10);
        self::assertSame(SIGKILL, $writer->signal, $writer->output());
    }

    /** The same, of a writer whose checkpoint the database has, which it has noted. */
    private function killOnceRegistered(): void
    {
        $writer = $this->scenario->writer(100)->waitFor('ready');
        // A note that is there, and empty as yet, says nothing.
        $notes = fn (): array => array_filter(glob($this->scenario->directory . '/journal/crash/*/target') ?: [], 'filesize');
        for ($i = 0; $i < 2_000 && $notes() === []; $i++) {
            usleep(5_000);
            clearstatcache();
        }
        $writer->kill(SIGKILL)->wait(10);
        self::assertSame(SIGKILL, $writer->signal, $writer->output());
        self::assertNotSame([], $notes(), $writer->output());
    }

    /** A writer that lives and has rows that it does not write. */
    private function startPending(int $groups): Subprocess
    {
        return Subprocess::start(CrashScenario::script(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal(['flush_interval_ms' => 86_400_000]));
            for ($id = 1; $id <= (int) getenv('COUNT'); $id++) group($buffer, $id);
            echo "added\n";
            sleep(60);
            PHP), $this->scenario->environment() + ['COUNT' => (string) $groups])->waitFor('added');
    }

    private function assertRecovers(): void
    {
        $said = $this->scenario->recover();
        self::assertSame([], $this->scenario->audit(), $said);
        self::assertSame([], $this->scenario->journals(), $said);
        self::assertSame(0, CrashScenario::checkpoints(), $said);
    }

    /** @return list<int> */
    private static function orders(): array
    {
        return array_map('intval', array_column(Database::rows('SELECT id FROM orders ORDER BY id'), 'id'));
    }

    /**
     * What is wrong if just these groups should be written.
     *
     * @param list<int> $groups
     * @return list<string>
     */
    private function auditOf(array $groups): array
    {
        $wrong = self::orders() === $groups ? [] : ['orders are ' . implode(', ', self::orders())];
        $audit = array_filter($this->scenario->audit(), static fn (string $w): bool => !str_contains($w, 'that nobody wrote'));
        return [...$wrong, ...array_values($audit)];
    }

    /** @return array<string, string> */
    private static function contents(string $directory): array
    {
        $files = glob("$directory/*/*/*") ?: [];
        return array_combine($files, array_map(static fn (string $f): string => hash_file('sha256', $f), $files));
    }
}
