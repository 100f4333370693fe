<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel;

use App\Jobs\Act;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Support\Facades\DB;
use Illuminate\Support\Facades\Event;
use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer\Exception\BufferFullException;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Exception\InvalidRowException;
use WriteBuffer\Laravel\Buffer;
use WriteBuffer\Laravel\Contracts\Buffers;
use WriteBuffer\Laravel\Drains;
use WriteBuffer\Laravel\Events\BatchCommitted;
use WriteBuffer\Laravel\Events\BatchFailed;
use WriteBuffer\Laravel\Events\BufferFull;
use WriteBuffer\Laravel\Events\RowsQuarantined;
use WriteBuffer\Laravel\Exceptions\RowsNotWritten;
use WriteBuffer\Laravel\Extension;
use WriteBuffer\Laravel\Facades\WriteBuffer;
use WriteBuffer\SyncWriteBuffer;
use WriteBuffer\Tests\Laravel\Support\LaravelTestCase;
use WriteBuffer\Tests\Laravel\Support\Reports;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\WriteBufferFactory;
use WriteBuffer\WriteBufferInterface;

/**
 * Buffers of config/write-buffer.php in an application.
 */
final class BuffersTest extends LaravelTestCase
{
    public function testRowsGoToTheDatabaseOfTheConnection(): void
    {
        self::needsExtension();
        $this->boot(self::LAZY);
        WriteBuffer::add('trades', self::trade(1));
        app(WriteBufferInterface::class)->addTrade(self::trade(2));
        self::assertSame(0, Database::count('order_transactions'));
        $result = WriteBuffer::flush();
        self::assertSucceeded($result);
        self::assertSame([2, 2], [$result->getTradesWritten(), Database::count('order_transactions')]);
    }

    public function testBuffersHaveNamesAndOptionsOfTheirOwn(): void
    {
        self::needsExtension();
        $this->boot(self::LAZY + ['write-buffer.buffers.spot' => ['max_buffer_size' => 7], 'write-buffer.default' => 'spot']);
        self::assertSame(7, WriteBuffer::getStats()['config']['max_buffer_size']);
        self::assertSame(1_000_000, WriteBuffer::buffer('default')->getStats()['config']['max_buffer_size']);
        self::assertSame(WriteBuffer::buffer(), WriteBuffer::buffer('spot'));
        self::assertSame(['spot', 'default'], array_keys(WriteBuffer::opened()));
        self::assertSame('spot', app(Buffer::class)->name);
    }

    public function testATablePrefixReachesAllTables(): void
    {
        self::needsExtension();
        $this->boot(self::LAZY + [
            'database.connections.main.prefix' => 'wb_',
            'write-buffer.buffers.default.tables' => ['states' => ['mode' => 'upsert', 'key' => 'id'], 'trades' => [], 'balances' => []],
        ]);
        Database::create('wb_states', 'id INT PRIMARY KEY, name VARCHAR(10)');
        Database::create('wb_order_transactions', 'match_id INT UNIQUE, price VARCHAR(10), quantity VARCHAR(10)');
        Database::create('wb_spot_usd_accounts', strtr('id INT PRIMARY KEY, balance money, available_balance money, usd_amount money', ['money' => Database::money()]));
        Database::execute("INSERT INTO wb_spot_usd_accounts VALUES (1, '1', '0', '0')");
        WriteBuffer::add('states', ['id' => 1, 'name' => 'a']);
        WriteBuffer::addTrade(self::trade(1));
        WriteBuffer::addBalanceUpdate(1, 'usd', ['balance' => '2']);
        self::assertSucceeded(WriteBuffer::flush());
        self::assertSame([1, 1], [Database::count('wb_states'), Database::count('wb_order_transactions')]);
        self::assertDecimal('3', Database::value('SELECT balance FROM wb_spot_usd_accounts'));
        // What nobody declared is refused, and not written to a table without prefix.
        self::thrown(InvalidRowException::class, static fn () => WriteBuffer::addOrder(1, self::order()));
        // The sync buffer has the prefix from the connection itself.
        config(['write-buffer.sync' => true]);
        $this->refreshBuffers();
        WriteBuffer::add('states', ['id' => 2, 'name' => 'b']);
        self::assertSame(2, Database::count('wb_states'));
        Database::drop('wb_states', 'wb_order_transactions', 'wb_spot_usd_accounts');
    }

    public function testAConfirmedFlushMakesLaterReadsStickToTheWriteSide(): void
    {
        self::needsExtension();
        $this->boot(self::LAZY);
        $connection = DB::connection('main');
        WriteBuffer::flush();
        self::assertFalse($connection->hasModifiedRecords());
        WriteBuffer::add('trades', self::trade(1));
        WriteBuffer::waitFor(WriteBuffer::sequence(), 0);
        self::assertFalse($connection->hasModifiedRecords() && WriteBuffer::committedSequence() === 0);
        WriteBuffer::flush();
        self::assertTrue($connection->hasModifiedRecords());
        $connection->forgetRecordModificationState();
        self::assertTrue(WriteBuffer::waitFor(WriteBuffer::add('trades', self::trade(2))));
        self::assertTrue($connection->hasModifiedRecords());
    }

    public function testEventsTellWhatWasCommittedAndRefused(): void
    {
        self::needsExtension();
        $reports = Reports::of($this->boot(self::LAZY + ['write-buffer.defaults.journal_dir' => $this->newDirectory()]));
        Event::fake();
        WriteBuffer::add('trades', self::trade(1));
        WriteBuffer::flush();
        Event::assertDispatched(static fn (BatchCommitted $event): bool => [$event->buffer, $event->rows] === ['default', 1]);
        WriteBuffer::addBalanceUpdate(404, 'usd', ['balance' => '1']);
        $result = WriteBuffer::flush();
        self::assertSame(1, $result->getQuarantined());
        Event::assertDispatched(static fn (RowsQuarantined $event): bool => $event->rows === 1 && $event->reasons === $result->getErrors());
        Event::assertNotDispatched(BatchFailed::class);
        self::assertInstanceOf(RowsNotWritten::class, $reports->reported[0]);
        self::assertStringContainsString('write-buffer:quarantine list --buffer=default', $reports->reported[0]->getMessage());
        WriteBuffer::flush();
        self::assertCount(1, $reports->reported);
    }

    public function testAFailureIsReportedOnceAndTheEventEachTime(): void
    {
        self::needsExtension();
        $reports = Reports::of($this->boot(self::LAZY + ['write-buffer.defaults.max_retries' => 0, 'write-buffer.buffers.default.tables' => ['nowhere' => ['mode' => 'insert']]]));
        $failed = 0;
        Event::listen(BatchFailed::class, static function (BatchFailed $event) use (&$failed): void {
            $failed++;
            self::assertSame([1, true], [$event->pending, str_contains($event->error, 'nowhere')]);
        });
        WriteBuffer::add('nowhere', ['a' => 1]);
        self::assertFalse(WriteBuffer::flush()->isSuccess());
        self::assertFalse(WriteBuffer::flush()->isSuccess());
        self::assertGreaterThanOrEqual(2, $failed);
        self::assertCount(1, $reports->reported);
        Database::create('nowhere', 'a INT');
        self::assertSucceeded(WriteBuffer::flush());
        Database::drop('nowhere');
    }

    public function testAFullBufferIsAnEventAndAnException(): void
    {
        self::needsExtension();
        $this->boot(self::LAZY + ['write-buffer.defaults.max_pending_rows' => 1, 'write-buffer.defaults.on_full' => 'throw']);
        Event::fake();
        $blocker = Database::blockWrites('order_transactions');
        WriteBuffer::add('trades', self::trade(1));
        $error = self::thrown(BufferFullException::class, static fn () => WriteBuffer::add('trades', self::trade(2)));
        Event::assertDispatched(static fn (BufferFull $event): bool => $event->exception === $error);
        $blocker->exec('ROLLBACK');
    }

    public function testWhatGoesWrongInAListenerIsReportedAndHarmsNoRow(): void
    {
        self::needsExtension();
        $reports = Reports::of($this->boot(self::LAZY));
        Event::listen(BatchCommitted::class, static fn () => throw new \RuntimeException('listener'));
        WriteBuffer::add('trades', self::trade(1));
        self::assertSucceeded(WriteBuffer::flush());
        self::assertSame(['listener'], array_map(static fn (\Throwable $e): string => $e->getMessage(), $reports->reported));
    }

    public function testAnotherConfigurationIsTakenUpAndRowsOfTheOldOneAreWritten(): void
    {
        self::needsExtension();
        $this->boot(self::LAZY);
        WriteBuffer::add('trades', self::trade(1));
        // As in a child of FPM after a deployment: a new application, the same process.
        config(['write-buffer.defaults.max_buffer_size' => 9]);
        $this->refreshBuffers();
        self::assertSame(9, WriteBuffer::getStats()['config']['max_buffer_size']);
        self::assertSame(1, Database::count('order_transactions'));
    }

    public function testWhatHappenedBetweenTwoRequestsIsReportedInTheSecond(): void
    {
        self::needsExtension();
        $config = ['write-buffer.defaults.journal_dir' => $this->newDirectory()] + self::LAZY;
        $this->boot($config);
        WriteBuffer::addBalanceUpdate(404, 'usd', ['balance' => '1']);
        // The request is over, and nobody looks while the row is refused.
        $native = WriteBuffer::buffer()->native();
        self::assertTrue($native->waitFor($native->sequence()));
        $this->refreshBuffers();
        $reports = Reports::of(app());
        WriteBuffer::buffer();
        Drains::at('octane_request');
        self::assertStringContainsString('the database refused 1 row(s)', $reports->reported[0]->getMessage());
        // The third hears of it no more.
        $this->refreshBuffers();
        WriteBuffer::buffer();
        Drains::at('octane_request');
        self::assertCount(1, $reports->reported);
    }

    public function testBuffersAreDrainedSideBySide(): void
    {
        self::needsExtension();
        $reports = Reports::of($this->boot(self::LAZY + [
            'write-buffer.drain.worker_stopping' => 2_000,
            'write-buffer.defaults.max_retries' => 1_000,
            'write-buffer.buffers.other' => ['connection' => 'queue'],
        ]));
        touch((string) config('database.connections.queue.database'));
        DB::connection('queue')->statement('CREATE TABLE order_transactions (match_id INT, price TEXT, quantity TEXT)');
        $blocker = Database::blockWrites('order_transactions');
        Database::isSqlite() || $blocker->exec('LOCK TABLES order_transactions READ');
        WriteBuffer::buffer('default')->addTrade(self::trade(1));
        WriteBuffer::buffer('other')->addTrade(self::trade(2));
        Drains::at('worker_stopping');
        $blocker->exec(Database::isSqlite() ? 'ROLLBACK' : 'UNLOCK TABLES');
        // The first had used up the time of both.
        self::assertSame(['default'], array_map(static fn (RowsNotWritten $error): string => $error->buffer, $reports->reported));
        self::assertSame(1, DB::connection('queue')->table('order_transactions')->count());
    }

    public function testAJobOfTheConnectionSyncIsNoEnd(): void
    {
        self::needsExtension();
        $reports = Reports::of($this->boot(self::LAZY));
        WriteBuffer::buffer()->beginTransaction();
        app('queue')->connection('sync')->push(new Act('end', 1));
        WriteBuffer::buffer()->commit();
        self::assertSame([[], 0], [$reports->reported, Database::count('order_transactions')]);
        self::assertSucceeded(WriteBuffer::flush());
        self::assertSame(1, Database::count('order_transactions'));
    }

    public function testADsnAloneNeedsNoConnection(): void
    {
        self::needsExtension();
        $this->boot(['write-buffer.defaults.dsn' => Database::dsn(), 'database.connections.main' => ['driver' => 'pgsql']] + self::LAZY);
        WriteBuffer::add('trades', self::trade(1));
        self::assertSucceeded(WriteBuffer::flush());
        self::assertSame(1, Database::count('order_transactions'));
    }

    public function testAGroupThatIsLeftOpenEndsWithItsJob(): void
    {
        self::needsExtension();
        $reports = Reports::of($this->boot(self::LAZY));
        WriteBuffer::buffer()->beginTransaction();
        WriteBuffer::add('trades', self::trade(1));
        Drains::at('looping');
        self::assertSame([], $reports->reported);
        Drains::at('job_failed');
        self::assertStringContainsString('still open at job_failed', $reports->reported[0]->getMessage());
        WriteBuffer::transaction(static fn (Buffer $buffer) => $buffer->addTrade(self::trade(2)));
        WriteBuffer::flush();
        self::assertEquals([2], array_column(Database::rows('SELECT match_id FROM order_transactions'), 'match_id'));
    }

    public function testAGroupOfTheNativeBufferEndsWithItsJobToo(): void
    {
        self::needsExtension();
        $reports = Reports::of($this->boot(self::LAZY));
        WriteBuffer::buffer()->native()->beginTransaction();
        WriteBuffer::add('trades', self::trade(1));
        Drains::at('job_failed');
        self::assertStringContainsString('still open at job_failed', $reports->reported[0]->getMessage());
        // Begun here and committed there, it is not open.
        WriteBuffer::beginTransaction();
        WriteBuffer::add('trades', self::trade(2));
        WriteBuffer::buffer()->native()->commit();
        Drains::at('job_failed');
        self::assertCount(1, $reports->reported);
        self::assertEquals([2], array_column(Database::rows('SELECT match_id FROM order_transactions'), 'match_id'));
    }

    public function testAReportThatFailsKeepsNoOtherBufferFromItsDrain(): void
    {
        self::needsExtension();
        $app = $this->boot(self::LAZY + ['write-buffer.buffers.other' => [], 'write-buffer.defaults.journal_dir' => $this->newDirectory()]);
        $handler = new class implements ExceptionHandler {
            public function report(\Throwable $e)
            {
                throw new \RuntimeException('the handler failed', 0, $e);
            }

            public function shouldReport(\Throwable $e)
            {
                return true;
            }

            public function render($request, \Throwable $e)
            {
                throw $e;
            }

            public function renderForConsole($output, \Throwable $e)
            {
                throw $e;
            }
        };
        $app->instance(ExceptionHandler::class, $handler);
        WriteBuffer::addBalanceUpdate(404, 'usd', ['balance' => '1']);
        WriteBuffer::buffer('other')->addTrade(self::trade(1));
        $log = ini_set('error_log', $path = $this->newDirectory());
        try {
            Drains::at('job_processed');
        } finally {
            ini_set('error_log', (string) $log);
        }
        self::assertSame(1, Database::count('order_transactions'));
        self::assertStringContainsString('the database refused 1 row(s)', (string) file_get_contents($path));
    }

    public function testABufferThatWasClosedIsOpenedAnew(): void
    {
        self::needsExtension();
        $this->boot(self::LAZY);
        WriteBuffer::add('trades', self::trade(1));
        $closed = WriteBuffer::buffer();
        self::assertSucceeded($closed->close());
        Drains::at('looping');
        // As the next job of the same worker does.
        WriteBuffer::add('trades', self::trade(2));
        self::assertNotSame($closed, WriteBuffer::buffer());
        self::assertSucceeded(WriteBuffer::flush());
        self::assertSame(2, Database::count('order_transactions'));
    }

    public function testAForkedChildReportsWhatItIsRefusedThoughItsParentWasToo(): void
    {
        self::needsExtension();
        $config = ['write-buffer.defaults.journal_dir' => $this->newDirectory()] + self::LAZY;
        file_put_contents("{$this->application->directory}/fork.php", '<?php $app = require "bootstrap/app.php";'
            . ' $app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap();'
            . ' $refused = static function (): void { $buffer = WriteBuffer\Laravel\Facades\WriteBuffer::buffer();'
            . ' $buffer->addBalanceUpdate(404, "usd", ["balance" => "1"]); $native = $buffer->native(); $native->waitFor($native->sequence(), 30000);'
            . ' WriteBuffer\Laravel\Drains::at("looping"); };'
            . ' $refused(); $child = pcntl_fork(); if ($child === 0) { $refused(); exit(0); } pcntl_waitpid($child, $status); exit(pcntl_wexitstatus($status));');
        $process = $this->application->php(['fork.php'], ['TEST_CONFIG' => (string) json_encode($config)]);
        self::assertSame(0, $process->wait(), $process->getOutput() . $process->getErrorOutput());
        self::assertSame(2, substr_count($this->application->events(), 'RowsQuarantined default 1'), $this->application->events());
    }

    public function testTheFactoryWritesToTheApplicationsDatabase(): void
    {
        self::needsExtension();
        $this->boot(self::LAZY);
        $buffer = $this->kept(WriteBufferFactory::createAsync(maxBufferSize: 3));
        $buffer->addTrade(self::trade(1));
        self::assertSucceeded($buffer->flush());
        self::assertSame([1, 3], [Database::count('order_transactions'), $buffer->getStats()['config']['max_buffer_size']]);
    }

    public function testTheFactoryKnowsACachedConfiguration(): void
    {
        // Without a variable of the environment: .env is not read once the configuration is cached.
        $this->boot(['write-buffer.sync' => true]);
        self::assertInstanceOf(SyncWriteBuffer::class, WriteBufferFactory::create());
    }

    public function testTheSyncBufferRefusesAnotherDriver(): void
    {
        $this->boot(['database.connections.main' => ['driver' => 'pgsql', 'host' => 'h', 'database' => 'x']]);
        foreach ([static fn () => WriteBufferFactory::createSync(), static fn () => new SyncWriteBuffer(DB::connection('main'))] as $make) {
            $error = self::thrown(ConfigurationException::class, $make);
            self::assertStringContainsString('has the driver [pgsql], and WriteBuffer writes to mysql, mariadb and sqlite', $error->getMessage());
        }
    }

    /** @return iterable<string, array{array<string, mixed>, string}> */
    public static function badConfigurations(): iterable
    {
        $native = ['write-buffer.sync' => false];
        yield 'unknown buffer' => [['write-buffer.default' => 'nope'], 'There is no buffer [nope] in config/write-buffer.php; there are: default.'];
        yield 'unknown connection' => [['write-buffer.defaults.connection' => 'nope'], 'There is no connection [nope] in config/database.php; there are: main, queue.'];
        yield 'driver' => [['database.connections.main' => ['driver' => 'pgsql', 'database' => 'x']], 'has the driver [pgsql]'];
        yield 'driver, sync' => [['write-buffer.sync' => true, 'database.connections.main' => ['driver' => 'sqlsrv', 'database' => 'x']], 'has the driver [sqlsrv]'];
        yield 'an option' => [$native + ['write-buffer.defaults.max_sise' => 1], 'max_sise'];
        yield 'a declaration' => [$native + ['write-buffer.buffers.default.tables' => ['t' => ['mode' => 'replace']]], 'replace'];
        yield 'a declaration, sync' => [['write-buffer.sync' => true, 'write-buffer.buffers.default.tables' => ['t' => ['mode' => 'replace']]], 'replace'];
    }

    /**
     * @dataProvider badConfigurations
     * @param array<string, mixed> $config
     */
    #[DataProvider('badConfigurations')]
    public function testABadConfigurationIsSaidAtFirstUse(array $config, string $expected): void
    {
        if (($config['write-buffer.sync'] ?? null) === false) {
            self::needsExtension();
        }
        $this->boot($config);
        $error = self::thrown(ConfigurationException::class, static fn () => WriteBuffer::buffer());
        self::assertStringContainsString($expected, $error->getMessage());
    }

    public function testAMissingOrForeignExtensionIsSaidAtFirstUse(): void
    {
        $app = $this->boot(['write-buffer.sync' => false]);
        foreach (['not loaded' => null, 'is of version 0.0.9' => '0.0.9', 'is of version 0.2.0' => '0.2.0'] as $expected => $version) {
            $app->instance(Extension::class, new Extension($version));
            $error = self::thrown(ConfigurationException::class, static fn () => WriteBuffer::buffer());
            self::assertStringContainsString($expected, $error->getMessage());
        }
        if (extension_loaded('write_buffer')) {
            self::assertNull(Extension::loaded()->problem());
        }
    }

    public function testInTheTestingEnvironmentRowsAreWrittenAtOnceInTheApplicationsTransaction(): void
    {
        $app = $this->boot(['app.env' => 'testing']);
        $app->instance('env', 'testing');
        DB::beginTransaction();
        WriteBuffer::add('trades', self::trade(1));
        $app->make(WriteBufferInterface::class)->addTrade(self::trade(2));
        self::assertSame(2, DB::table('order_transactions')->count());
        DB::rollBack();
        self::assertSame(0, Database::count('order_transactions'));
        self::thrown(ConfigurationException::class, static fn () => WriteBuffer::buffer()->native());
    }

    private function refreshBuffers(): void
    {
        app()->forgetInstance(Buffers::class);
        WriteBuffer::clearResolvedInstances();
    }
}
