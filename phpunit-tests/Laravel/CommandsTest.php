<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel;

use Illuminate\Support\Facades\Artisan;
use Illuminate\Support\Facades\DB;
use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer\Laravel\Database\CheckpointTable;
use WriteBuffer\Laravel\Extension;
use WriteBuffer\Laravel\Facades\WriteBuffer;
use WriteBuffer\Tests\Laravel\Support\LaravelTestCase;
use WriteBuffer\Tests\Laravel\Support\Reports;
use WriteBuffer\Tests\Support\Database;

/**
 * The artisan commands.
 */
final class CommandsTest extends LaravelTestCase
{
    /** @return iterable<string, array{array<string, mixed>}> */
    public static function applications(): iterable
    {
        yield 'as it comes' => [[]];
        yield 'unknown connection' => [['write-buffer.defaults.connection' => 'nowhere']];
        yield 'unknown buffer' => [['write-buffer.default' => 'nowhere']];
        yield 'unsupported driver' => [['database.connections.main' => ['driver' => 'pgsql', 'database' => 'x', 'host' => 'h']]];
        yield 'paths that are none' => [['write-buffer.defaults.journal_dir' => ['x'], 'write-buffer.status.path' => ['x']]];
        yield 'buffers that are none' => [['write-buffer.buffers' => ['default' => [], 'spot' => 'x'], 'write-buffer.drain' => 'x']];
        yield 'a directory that cannot be' => [['write-buffer.defaults.journal_dir' => '/proc/nowhere', 'write-buffer.status.path' => '/proc/nowhere']];
    }

    /**
     * @dataProvider applications
     * @param array<string, mixed> $config
     */
    #[DataProvider('applications')]
    public function testArtisanListIsNeverDisturbed(array $config): void
    {
        foreach ([true, false] as $withExtension) {
            $process = $this->application->artisan(['list', '--raw'], $config, [], $withExtension);
            self::assertSame(0, $process->getExitCode(), $process->getOutput() . $process->getErrorOutput());
            foreach (['status', 'flush', 'doctor', 'quarantine', 'install'] as $command) {
                self::assertStringContainsString("write-buffer:$command", $process->getOutput());
            }
            self::assertSame('', $process->getErrorOutput());
        }
    }

    public function testWithoutTheExtensionTheFirstUseSaysWhatToDo(): void
    {
        foreach (['write-buffer:flush', 'write-buffer:doctor'] as $command) {
            $process = $this->application->artisan([$command], [], [], false);
            self::assertSame(1, $process->getExitCode(), $process->getErrorOutput());
            self::assertStringContainsString('install it and add extension=write_buffer to php.ini', preg_replace('/\s+/', ' ', $process->getOutput()));
        }
    }

    public function testTheOldClassOfAnApplicationIsNotTakenForTheExtension(): void
    {
        file_put_contents("{$this->application->directory}/old.php", '<?php class WriteBuffer {} $app = require "bootstrap/app.php";'
            . ' $app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap();'
            . ' foreach ([fn () => WriteBuffer\Laravel\Facades\WriteBuffer::buffer(), fn () => WriteBuffer\WriteBufferFactory::createAsync()] as $use) {'
            . ' try { $use(); } catch (WriteBuffer\Exception\ConfigurationException $error) { echo $error->getMessage(), "\n"; } }');
        $process = $this->application->php(['old.php'], ['TEST_CONFIG' => '{"write-buffer.sync":false}'], false);
        $process->wait();
        self::assertSame(2, substr_count($process->getOutput(), 'The write_buffer extension is not loaded'), $process->getOutput() . $process->getErrorOutput());
    }

    public function testInstallPublishesMigratesAndChecks(): void
    {
        self::needsExtension();
        Database::drop(CheckpointTable::NAME, 'migrations');
        $process = $this->application->artisan(['write-buffer:install']);
        self::assertSame(0, $process->getExitCode(), $process->getOutput() . $process->getErrorOutput());
        self::assertFileEquals(__DIR__ . '/../../laravel/config/write-buffer.php', "{$this->application->directory}/config/write-buffer.php");
        self::assertStringContainsString('Nothing is wrong.', $process->getOutput());
        self::assertSame(0, Database::count(CheckpointTable::NAME));
        Database::drop('migrations');
    }

    public function testAboutHasASection(): void
    {
        $app = $this->boot();
        if (!array_key_exists('about', Artisan::all())) {
            self::markTestSkipped('This Laravel has no about command (9.21 and later).');
        }
        Artisan::call('about', ['--only' => 'writebuffer', '--json' => true]);
        $facts = json_decode(Artisan::output(), true)['write_buffer'] ?? json_decode(Artisan::output(), true)['writebuffer'] ?? [];
        self::assertSame($app->make(Extension::class)->version ?? 'not loaded', $facts['extension'] ?? null, Artisan::output());
    }

    public function testTheDoctorFindsNothingWrongWithAGoodApplication(): void
    {
        self::needsExtension();
        [$code, $findings] = $this->doctor([
            'write-buffer.stop_timeout' => '30',
            'write-buffer.buffers.default.tables' => ['orders' => [], 'balances' => [], 'trades' => ['unique' => 'match_id']],
        ]);
        self::assertSame([], array_column(array_filter($findings, static fn (array $f): bool => $f['level'] !== 'ok'), 'text'));
        self::assertSame(0, $code);
        self::assertStringNotContainsString((string) (parse_url(Database::dsn(), PHP_URL_PASS) ?: 'no password'), (string) json_encode($findings));
    }

    /** @return iterable<string, array{array<string, mixed>, string, string}> */
    public static function faults(): iterable
    {
        yield 'driver' => [['database.connections.main' => ['driver' => 'pgsql']], 'database of default', 'has the driver [pgsql]'];
        yield 'connection' => [['write-buffer.defaults.connection' => 'x'], 'database of default', 'There is no connection [x]'];
        yield 'memory' => [['database.connections.main' => ['driver' => 'sqlite', 'database' => ':memory:', 'prefix' => '']], 'database of default', 'in memory'];
        yield 'unreachable' => [
            ['database.connections.main' => ['driver' => 'mysql', 'host' => '127.0.0.1', 'port' => 1, 'database' => 'x', 'username' => 'u', 'password' => 'hunter2']],
            'database of default',
            'connection [main] does not connect',
        ];
        yield 'no table' => [['write-buffer.buffers.default.tables' => ['nowhere' => ['mode' => 'insert']]], 'table nowhere', 'there is no table nowhere; create it'];
        yield 'no column' => [
            ['write-buffer.buffers.default.tables' => ['orders' => ['mode' => 'upsert', 'key' => 'number']]],
            'table orders',
            'orders has no column number; correct the declaration',
        ];
        yield 'no unique key' => [
            ['write-buffer.buffers.default.tables' => ['orders' => ['mode' => 'upsert', 'key' => 'status']]],
            'table orders',
            'orders has no unique index of exactly status; add one',
        ];
        yield 'declaration' => [['write-buffer.buffers.default.tables' => ['t' => ['mode' => 'replace']]], 'schema of default', "'mode' is \"replace\""];
        yield 'journal directory' => [['write-buffer.defaults.journal_dir' => '/proc/nowhere'], 'journal_dir of default', 'is not writable for user'];
        yield 'journal file' => [['write-buffer.defaults.journal_dir' => '/etc/passwd'], 'journal_dir of default', '/etc/passwd is no directory'];
        yield 'no such default' => [['write-buffer.default' => 'spot'], 'config', 'There is no buffer [spot] in config/write-buffer.php; there are: default.'];
        yield 'no buffers' => [['write-buffer.buffers' => 'x'], 'config', 'There is no buffer [default] in config/write-buffer.php; there are: none.'];
        yield 'a buffer that is none' => [['write-buffer.buffers.spot' => null], 'config', 'Buffer [spot] in config/write-buffer.php is null; it takes an array'];
        yield 'a name that is none' => [['write-buffer.defaults.connection' => ['main']], 'config', '`connection` of buffer [default] in config/write-buffer.php is array; it takes a string.'];
        yield 'status path' => [['write-buffer.status.path' => ['x']], 'config', '`status.path`'];
        yield 'drain' => [['write-buffer.drain.job_failed' => '5s'], 'config', '`drain.job_failed` in config/write-buffer.php is "5s"; it takes ms'];
        yield 'a stop timeout with a unit' => [['write-buffer.stop_timeout' => '30s'], 'stop timeout', 'WRITE_BUFFER_STOP_TIMEOUT is "30s"; set it to a number of seconds'];
        yield 'stop timeout' => [['write-buffer.stop_timeout' => 10], 'stop timeout', 'may take 15000 ms (drain.worker_stopping and drain_timeout_ms), and is killed after 10 s'];
        yield 'stop timeout by the buffer' => [['write-buffer.stop_timeout' => 10, 'write-buffer.defaults.drain_timeout_ms' => 60_000], 'stop timeout', '65000 ms'];
        yield 'retry_after' => [['queue.connections.database.retry_after' => 65], 'queue database', 'is given to another worker after 65 s; raise retry_after'];
        yield 'horizon' => [
            ['horizon.defaults.s' => ['connection' => 'database', 'timeout' => 85]],
            'queue database',
            'a job that times out after 85 s drains for up to 11 s',
        ];
        yield 'block_for by the environment' => [['queue.connections.redis' => ['driver' => 'redis', 'block_for' => '0']], 'queue redis', 'block_for is 0'];
        yield 'block_for' => [['queue.connections.redis' => ['driver' => 'redis', 'block_for' => 0]], 'queue redis', 'block_for is 0'];
    }

    /**
     * @dataProvider faults
     * @param array<string, mixed> $config
     */
    #[DataProvider('faults')]
    public function testTheDoctorFinds(array $config, string $subject, string $expected): void
    {
        [$code, $findings] = $this->doctor($config);
        $faults = array_filter($findings, static fn (array $f): bool => $f['level'] === 'fault' && $f['subject'] === $subject);
        self::assertStringContainsString($expected, implode("\n", array_column($faults, 'text')), (string) json_encode($findings));
        self::assertStringNotContainsString('hunter2', (string) json_encode($findings));
        self::assertSame(1, $code);
    }

    /** @return iterable<string, array{array<string, mixed>, string}> */
    public static function wrongOptions(): iterable
    {
        yield 'journal' => [['write-buffer.defaults.journal' => 'proces'], 'Option "journal" is "proces"'];
        yield 'journal without a place' => [['write-buffer.defaults.journal' => 'process', 'write-buffer.defaults.journal_dir' => ''], 'which needs a place'];
        yield 'name' => [['write-buffer.buffers' => ['default' => [], 'a b' => []]], 'Option "name" is "a b"'];
        yield 'session' => [['write-buffer.defaults.session' => 'x'], 'Option "session" is "x"; it takes an array.'];
        yield 'table' => [
            ['write-buffer.buffers.default.tables' => ['trades' => ['table' => ['a']]], 'database.connections.main.prefix' => 'wb_'],
            "Table \"trades\": 'table' is",
        ];
    }

    /**
     * @dataProvider wrongOptions
     * @param array<string, mixed> $config
     */
    #[DataProvider('wrongOptions')]
    public function testTheDoctorHasTheExtensionLookAtEveryOption(array $config, string $expected): void
    {
        self::needsExtension();
        [$code, $findings] = $this->doctor($config);
        self::assertStringContainsString($expected, implode("\n", array_column(array_filter($findings, static fn (array $f): bool => str_starts_with($f['subject'], 'options of ')), 'text')));
        self::assertSame(1, $code);
    }

    public function testTheDoctorOpensNoJournal(): void
    {
        self::needsExtension();
        $directory = $this->newDirectory();
        [, $findings] = $this->doctor(['write-buffer.defaults.journal' => 'process', 'write-buffer.defaults.journal_dir' => $directory]);
        self::assertContains(['level' => 'ok', 'subject' => 'options of default', 'text' => 'accepted by the extension'], $findings);
        self::assertDirectoryDoesNotExist($directory);
    }

    public function testTheDoctorDoesNotAskForTheExtensionWhereRowsAreWrittenAtOnce(): void
    {
        $this->boot(['write-buffer.sync' => true])->instance(Extension::class, new Extension(null));
        Artisan::call('write-buffer:doctor', ['--json' => true]);
        $found = json_decode(Artisan::output(), true)['findings'];
        self::assertSame(['note'], array_column(array_filter($found, static fn (array $f): bool => $f['subject'] === 'extension'), 'level'));
        self::assertStringContainsString('rows are written at once', (string) json_encode($found));
    }

    /** @return iterable<string, array{list<string>, int, string}> */
    public static function wrongArguments(): iterable
    {
        yield 'timeout' => [['write-buffer:flush', '--timeout=1m'], 2, '--timeout is "1m"; it takes a number of seconds.'];
        yield 'negative timeout' => [['write-buffer:flush', '--timeout=-1'], 2, '--timeout is "-1"'];
        yield 'watch' => [['write-buffer:status', '--watch=often'], 2, '--watch is "often"; it takes a number of seconds.'];
        yield 'neither numbers nor all' => [['write-buffer:quarantine', 'replay'], 2, 'Give either the numbers of groups, as listed, or --all.'];
        yield 'numbers and all' => [['write-buffer:quarantine', 'discard', '1', '--all', '--yes'], 2, 'Give either the numbers'];
        yield 'no number' => [['write-buffer:quarantine', 'show', 'first'], 2, 'Groups are named by their numbers'];
        yield 'a file to list' => [['write-buffer:quarantine', '--file=/nowhere.jsonl'], 1, 'There is no file /nowhere.jsonl'];
        yield 'a file to show' => [['write-buffer:quarantine', 'show', '--file=/tmp'], 1, 'There is no file /tmp'];
    }

    /**
     * @dataProvider wrongArguments
     * @param list<string> $arguments
     */
    #[DataProvider('wrongArguments')]
    public function testAWrongArgumentIsSaid(array $arguments, int $code, string $expected): void
    {
        $process = $this->application->artisan($arguments);
        self::assertSame($code, $process->getExitCode(), $process->getOutput());
        self::assertStringContainsString($expected, $process->getOutput());
    }

    public function testWithoutDirectoriesThereIsNothingToShow(): void
    {
        $this->boot(['write-buffer.defaults.journal_dir' => null, 'write-buffer.status.path' => null]);
        self::assertSame([0, 0], [Artisan::call('write-buffer:quarantine'), Artisan::call('write-buffer:status')]);
        self::assertStringContainsString('No process of this host', Artisan::output());
    }

    public function testAFileThatIsNamedIsListedOnce(): void
    {
        $file = $this->newDirectory();
        file_put_contents($file, "not json\n");
        $this->boot(['write-buffer.buffers.spot' => []]);
        self::assertSame(1, Artisan::call('write-buffer:quarantine', ['--file' => $file]));
        self::assertSame(1, substr_count(Artisan::output(), 'this line cannot be read'));
    }

    public function testAJournalDirectoryIsTheApplicationsWhereverAProcessRuns(): void
    {
        $this->boot(['write-buffer.defaults.journal_dir' => 'storage/journals']);
        self::assertSame("{$this->application->directory}/storage/journals", WriteBuffer::settings()->options()['journal_dir']);
    }

    public function testTheDoctorFindsAMissingMigrationRightsAndALaxConnection(): void
    {
        $directory = $this->newDirectory();
        mkdir($directory);
        chmod($directory, 0777);
        $lax = Database::isSqlite() ? [] : ['database.connections.main.strict' => false];
        Database::drop(CheckpointTable::NAME);
        [, $findings] = $this->doctor(['write-buffer.defaults.journal_dir' => $directory] + $lax, migrate: false);
        $faults = implode("\n", array_column(array_filter($findings, static fn (array $f): bool => $f['level'] === 'fault'), 'text'));
        self::assertStringContainsString('table write_buffer_checkpoints is missing; run `php artisan migrate`', $faults);
        self::assertStringContainsString("run: chmod 700 $directory", $faults);
        self::assertSame($lax !== [], str_contains($faults, 'is not strict'));
    }

    public function testTheDoctorFindsAWrongExtension(): void
    {
        $this->boot()->instance(Extension::class, new Extension('0.0.1'));
        self::assertSame(1, Artisan::call('write-buffer:doctor'));
        self::assertStringContainsString('The write_buffer extension is of version 0.0.1', Artisan::output());
    }

    public function testFlushWritesWhatADeadProcessLeft(): void
    {
        self::needsExtension();
        $journal = ['write-buffer.defaults.journal' => 'process', 'write-buffer.defaults.journal_dir' => $this->newDirectory()] + self::LAZY;
        $script = "{$this->application->directory}/leave.php";
        file_put_contents($script, '<?php $app = require "bootstrap/app.php"; $app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap();'
            . ' WriteBuffer\Laravel\Facades\WriteBuffer::addTrade(["match_id" => 1, "price" => 1, "quantity" => 1]); posix_kill(getmypid(), SIGKILL);');
        $writer = $this->application->php(['leave.php'], ['TEST_CONFIG' => (string) json_encode($journal)]);
        $this->eventually(static fn (): bool => !$writer->isRunning(), 'the writer is killed');
        self::assertSame(SIGKILL, $writer->getTermSignal(), $writer->getOutput() . $writer->getErrorOutput());
        self::assertSame(0, Database::count('order_transactions'));
        $flush = $this->application->artisan(['write-buffer:flush'], $journal);
        self::assertSame([0, 1], [$flush->getExitCode(), Database::count('order_transactions')], $flush->getOutput() . $flush->getErrorOutput());
        self::assertStringContainsString('default: 1 row(s) recovered from journals, 0 pending.', $flush->getOutput());
    }

    public function testQuarantineIsListedAndShown(): void
    {
        self::needsExtension();
        $directory = $this->quarantine();
        self::assertSame(1, Artisan::call('write-buffer:quarantine'));
        $listed = (string) preg_replace('/\s+/', ' ', Artisan::output());
        self::assertStringContainsString('| default | 1 | 1 to 1 | balances |', $listed);
        self::assertSame(0, Artisan::call('write-buffer:quarantine', ['action' => 'show', 'numbers' => ['1']]));
        self::assertStringContainsString('balances add {', $shown = Artisan::output());
        self::assertStringContainsString('404', $shown);
        self::assertSame(2, Artisan::call('write-buffer:quarantine', ['action' => 'show', 'numbers' => ['7']]));
        self::assertSame(1, Artisan::call('write-buffer:quarantine', ['--json' => true]));
        self::assertSame(1, json_decode(Artisan::output(), true)['groups']['default'][0]['number']);
        self::assertSame(2, Artisan::call('write-buffer:quarantine', ['action' => 'burn']));
        file_put_contents("$directory/default.quarantine.jsonl", "not json\n", FILE_APPEND);
        Artisan::call('write-buffer:quarantine');
        self::assertStringContainsString('this line cannot be read', Artisan::output());
    }

    public function testReplayAndDiscardSayThatTheyNeedTheTool(): void
    {
        self::needsExtension();
        $this->quarantine(['write-buffer.binary' => 'no-such-tool']);
        foreach (['replay', 'discard'] as $action) {
            self::assertSame(1, Artisan::call('write-buffer:quarantine', ['action' => $action, '--all' => true, '--yes' => true]));
            self::assertStringContainsString('The command-line tool [no-such-tool] is not installed here', Artisan::output());
        }
    }

    public function testTheToolIsGivenTheDsnByItsEnvironmentOnly(): void
    {
        self::needsExtension();
        $tool = "{$this->application->directory}/tool";
        file_put_contents($tool, "#!/bin/sh\necho \"\$@\"\ncat \"\$(echo \"\$@\" | sed 's/.*--tables //; s/ .*//')\"\n[ \"\$WRITE_BUFFER_DSN\" = '" . Database::dsn() . "' ] || exit 9\nexit 1\n");
        chmod($tool, 0700);
        $directory = $this->quarantine(['write-buffer.binary' => $tool, 'write-buffer.buffers.default.tables' => ['t' => ['mode' => 'upsert', 'key' => 'id']]], declared: ['t']);
        self::assertSame(1, Artisan::call('write-buffer:quarantine', ['action' => 'replay', 'numbers' => ['1']]));
        self::assertStringContainsString("--name default --journal-dir $directory quarantine replay 1 --tables ", $output = Artisan::output());
        self::assertStringContainsString('{"t":{"mode":"upsert","key":"id"}}', $output);
        self::assertStringNotContainsString((string) (parse_url(Database::dsn(), PHP_URL_PASS) ?: 'sqlite://'), $output);
    }

    public function testTheToolReplaysAndDiscards(): void
    {
        self::needsExtension();
        $tool = (string) getenv('WRITE_BUFFER_TOOL');
        if (!is_executable($tool)) {
            self::markTestSkipped('WRITE_BUFFER_TOOL names no command-line tool; make test builds it and sets it.');
        }
        $this->quarantine(['write-buffer.binary' => $tool]);
        self::assertSame(1, Artisan::call('write-buffer:quarantine', ['action' => 'replay', '--all' => true]), Artisan::output());
        Database::createAccount(404, 'usd', '1');
        self::assertSame(0, Artisan::call('write-buffer:quarantine', ['action' => 'replay', 'numbers' => ['1']]), Artisan::output());
        self::assertDecimal('6', Database::value('SELECT balance FROM spot_usd_accounts'));
        self::assertSame(0, Artisan::call('write-buffer:quarantine'));
        WriteBuffer::addBalanceUpdate(405, 'usd', ['balance' => '5']);
        WriteBuffer::flush();
        self::assertSame(0, Artisan::call('write-buffer:quarantine', ['action' => 'discard', '--all' => true, '--yes' => true]), Artisan::output());
        self::assertSame(0, Artisan::call('write-buffer:quarantine'));
    }

    public function testTheMigrationMakesTheTableOfTheExtension(): void
    {
        self::needsExtension();
        $describe = static fn (): mixed => Database::isSqlite()
            ? Database::value("SELECT sql FROM sqlite_master WHERE name = 'write_buffer_checkpoints'")
            : Database::rows('SHOW CREATE TABLE write_buffer_checkpoints')[0]['Create Table'];
        Database::drop(CheckpointTable::NAME);
        $this->boot(['database.connections.main.prefix' => 'wb_']);
        CheckpointTable::create(DB::connection('main'));
        $ours = $describe();
        self::assertTrue(CheckpointTable::exists(DB::connection('main')));
        CheckpointTable::drop(DB::connection('main'));
        self::assertFalse(CheckpointTable::exists(DB::connection('main')));
        $native = $this->buffer();
        $native->addTrade(self::trade(1));
        self::assertSucceeded($native->flush());
        self::assertSame($describe(), $ours);
    }

    public function testTheTableIsNotDroppedWhileAJournalNeedsIt(): void
    {
        $this->boot();
        CheckpointTable::create(DB::connection('main'));
        Database::execute("INSERT INTO write_buffer_checkpoints VALUES ('w', 1, 1, 0)");
        $error = self::thrown(\RuntimeException::class, static fn () => CheckpointTable::drop(DB::connection('main')));
        self::assertStringContainsString('run `php artisan write-buffer:flush` first', $error->getMessage());
        Database::drop(CheckpointTable::NAME);
    }

    /**
     * @param array<string, mixed> $config
     * @return array{int, list<array<string, string>>}
     */
    private function doctor(array $config, bool $migrate = true): array
    {
        $this->boot($config);
        if ($migrate) {
            Database::isSqlite()
                ? Database::execute('CREATE TABLE IF NOT EXISTS write_buffer_checkpoints (writer TEXT NOT NULL PRIMARY KEY, sequence INTEGER NOT NULL, durable INTEGER NOT NULL, updated_at INTEGER NOT NULL)')
                : Database::execute('CREATE TABLE IF NOT EXISTS write_buffer_checkpoints (writer VARCHAR(128) NOT NULL PRIMARY KEY, sequence BIGINT UNSIGNED NOT NULL, durable TINYINT NOT NULL, updated_at BIGINT NOT NULL)');
        }
        $code = Artisan::call('write-buffer:doctor', ['--json' => true]);
        $report = json_decode(Artisan::output(), true);
        self::assertSame($code === 0, $report['ok']);
        Database::drop(CheckpointTable::NAME);
        return [$code, $report['findings']];
    }

    /**
     * A group in quarantine: an account that is not there.
     *
     * @param array<string, mixed> $config
     * @param list<string> $declared tables to make
     * @return string the journal directory
     */
    private function quarantine(array $config = [], array $declared = []): string
    {
        $directory = $this->newDirectory();
        Reports::of($this->boot(['write-buffer.defaults.journal_dir' => $directory] + $config + self::LAZY));
        foreach ($declared as $table) {
            Database::create($table, 'id INT PRIMARY KEY');
        }
        WriteBuffer::addBalanceUpdate(404, 'usd', ['balance' => '5']);
        self::assertSame(1, WriteBuffer::flush()->getQuarantined());
        Database::drop(...$declared);
        return $directory;
    }
}
