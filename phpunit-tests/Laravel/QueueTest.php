<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel;

use App\Jobs\Act;
use PDO;
use PHPUnit\Framework\Attributes\DataProvider;
use Symfony\Component\Process\Process;
use WriteBuffer\Tests\Laravel\Support\LaravelTestCase;
use WriteBuffer\Tests\Support\Database;

/**
 * Real queue workers. Rows are written by nothing but the end a test is about; where the
 * process ends orderly after it, the event says that it was this end, and not the
 * extension's own drain.
 */
final class QueueTest extends LaravelTestCase
{
    protected function setUp(): void
    {
        parent::setUp();
        $this->boot();
        $pdo = new PDO("sqlite:{$this->application->directory}/database/queue.sqlite");
        $pdo->exec('CREATE TABLE jobs (id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT, payload TEXT, attempts INTEGER,
            reserved_at INTEGER, available_at INTEGER, created_at INTEGER)');
    }

    public function testAJobsRowsAreWrittenBeforeTheNextJobIsTaken(): void
    {
        self::needsExtension();
        $this->push('end', 1);
        $this->push('hang', 2);
        $worker = $this->worker();
        $this->eventually(static fn (): bool => Database::count('order_transactions') === 1, 'the first job\'s row');
        $this->eventually(fn (): bool => str_contains($this->application->events(), 'BatchCommitted default 1'), 'its event');
        self::assertTrue($worker->isRunning());
    }

    /** @return iterable<string, array{string}> */
    public static function failures(): iterable
    {
        yield 'for good' => ['throw'];
        yield 'to be tried again' => ['throw and retry'];
    }

    /**
     * @dataProvider failures
     */
    #[DataProvider('failures')]
    public function testAJobThatFailsLeavesNoRowBehind(string $then): void
    {
        self::needsExtension();
        $this->push($then);
        $worker = $this->worker();
        $this->eventually(static fn (): bool => Database::count('order_transactions') === 1, 'the failed job\'s row');
        self::assertTrue($worker->isRunning());
    }

    public function testAGroupThatAJobForgotIsNotPartOfTheNextJob(): void
    {
        self::needsExtension();
        $this->push('forget', 1);
        $this->push('end', 2);
        $this->worker(['--stop-when-empty'])->wait();
        self::assertEquals([['match_id' => 2]], Database::rows('SELECT match_id FROM order_transactions'));
        self::assertStringContainsString('a transaction was still open at job_processed', $this->application->log());
    }

    public function testAJobThatTimesOutIsWrittenBeforeTheKill(): void
    {
        self::needsExtension();
        $this->push('hang');
        $worker = $this->ended($this->worker(['--timeout=1']));
        self::assertSame(SIGKILL, $worker->getTermSignal(), $worker->getOutput() . $worker->getErrorOutput());
        self::assertSame(1, Database::count('order_transactions'));
    }

    public function testAWorkerThatIsToldToStopDrainsFirst(): void
    {
        self::needsExtension();
        $this->push('end');
        // Only the worker's end waits.
        $worker = $this->worker([], ['write-buffer.drain.job_processed' => 0, 'write-buffer.drain.terminating' => null]);
        $this->eventually(fn (): bool => $this->jobs() === 0, 'the job is done');
        self::assertSame(0, Database::count('order_transactions'));
        $looks = 0;
        $this->eventually(static function () use ($worker, &$looks): bool {
            // Told again: PHP forgets a signal that comes while a function of its own throws (php-src #23624).
            $worker->isRunning() && $looks++ % 400 === 0 && $worker->signal(SIGTERM);
            return !$worker->isRunning();
        }, 'the worker ends', 30.0);
        self::assertSame(0, $worker->getExitCode(), $worker->getErrorOutput());
        self::assertSame(1, Database::count('order_transactions'));
        self::assertStringContainsString('BatchCommitted default 1', $this->application->events());
    }

    public function testAJobTimeoutInTheMiddleOfADrainLosesNothingThatTheJournalHas(): void
    {
        self::needsExtension();
        $journal = ['write-buffer.defaults.journal' => 'process'];
        $blocker = Database::blockWrites('order_transactions');
        Database::isSqlite() || $blocker->exec('LOCK TABLES order_transactions READ');
        $this->push('end');
        $short = ['write-buffer.drain.job_processed' => 60_000, 'write-buffer.drain.worker_stopping' => 300];
        $worker = $this->ended($this->worker(['--timeout=1'], $journal + $short));
        self::assertSame(SIGKILL, $worker->getTermSignal(), $worker->getOutput() . $worker->getErrorOutput());
        self::assertStringContainsString('BatchFailed default', $this->application->events());
        $blocker->exec(Database::isSqlite() ? 'ROLLBACK' : 'UNLOCK TABLES');
        $flush = $this->application->artisan(['write-buffer:flush'], $journal + self::LAZY);
        self::assertSame(0, $flush->getExitCode(), $flush->getOutput() . $flush->getErrorOutput());
        self::assertSame(1, Database::count('order_transactions'));
    }

    public function testACommandsRowsAreWrittenWhenTheApplicationTerminates(): void
    {
        self::needsExtension();
        $this->push('end');
        $none = ['write-buffer.drain.job_processed' => null, 'write-buffer.drain.worker_stopping' => null, 'write-buffer.drain.looping' => null];
        $this->worker(['--once'], $none)->wait();
        self::assertSame(1, Database::count('order_transactions'));
        self::assertStringContainsString('BatchCommitted default 1', $this->application->events());
    }

    public function testAnEndThatIsSwitchedOffDoesNotWait(): void
    {
        self::needsExtension();
        $this->push('end');
        $worker = $this->worker([], ['write-buffer.drain.job_processed' => null, 'write-buffer.drain.looping' => null]);
        $this->eventually(fn (): bool => $this->jobs() === 0, 'the job is done');
        self::assertSame(0, Database::count('order_transactions'));
        // Killed, it loses what nobody waited for: that is what the default is for.
        $worker->signal(SIGKILL);
        $this->ended($worker);
        self::assertSame(0, Database::count('order_transactions'));
    }

    public function testADatabaseThatRefusesIsReportedToTheApplication(): void
    {
        self::needsExtension();
        Database::drop('order_transactions');
        $this->push('end');
        $this->worker(['--once'], ['write-buffer.defaults.max_retries' => 0, 'write-buffer.defaults.drain_timeout_ms' => 100])->wait();
        self::assertStringContainsString('BatchFailed default', $this->application->events());
        self::assertStringContainsString('Buffer "default": ', $this->application->log());
        self::assertStringContainsString('order_transactions', $this->application->log());
        // And nothing is lost: what could not be written lies in journal_dir.
        $spilled = glob("{$this->application->directory}/storage/write-buffer/default.spilled-*.jsonl") ?: [];
        self::assertCount(1, $spilled);
        self::assertStringContainsString('"match_id":1', (string) file_get_contents($spilled[0]));
    }

    /**
     * Which event a hook came with, on whichever Laravel; the fake needs no extension.
     *
     * @return iterable<string, array{string, list<string>, int|null, list<string>}>
     */
    public static function hooks(): iterable
    {
        yield 'processed' => ['end', ['--once'], null, ['Illuminate\Queue\Events\JobProcessed']];
        yield 'failed' => ['throw', ['--once'], null, ['Illuminate\Queue\Events\JobExceptionOccurred', 'Illuminate\Queue\Events\JobFailed']];
        yield 'timed out' => ['hang', ['--timeout=1'], null, ['Illuminate\Queue\Events\JobTimedOut', 'Illuminate\Queue\Events\WorkerStopping']];
        yield 'stopped' => ['end', [], SIGTERM, ['Illuminate\Queue\Events\WorkerStopping']];
    }

    /**
     * @dataProvider hooks
     * @param list<string> $arguments
     * @param list<string> $expected one of them
     */
    #[DataProvider('hooks')]
    public function testEachEndComesWithItsEvent(string $then, array $arguments, ?int $signal, array $expected): void
    {
        $this->push($then);
        // A job that times out fails first, and one that is done before the worker stops is processed.
        $earlier = match (true) {
            $then === 'hang' => ['write-buffer.drain.job_failed' => null],
            $signal !== null => ['write-buffer.drain.job_processed' => null],
            default => [],
        };
        $worker = $this->worker($arguments, $earlier, ['TEST_FAKE' => '1']);
        if ($signal !== null) {
            $this->eventually(fn (): bool => $this->jobs() === 0, 'the job is done');
            $worker->signal($signal);
        }
        $this->ended($worker);
        preg_match_all('/^flushed by (.*)$/m', $this->application->events(), $flushed);
        self::assertNotSame([], array_intersect($expected, $flushed[1]), $this->application->events() . $worker->getOutput() . $worker->getErrorOutput());
    }

    private function push(string $then, int $match = 1): void
    {
        app('queue')->connection('database')->push(new Act($then, $match));
    }

    private function jobs(): int
    {
        return (int) app('db')->connection('queue')->table('jobs')->count();
    }

    /** wait() takes a signal for an exception. */
    private function ended(Process $process): Process
    {
        $this->eventually(static fn (): bool => !$process->isRunning(), 'the end of the process');
        return $process;
    }

    /**
     * @param list<string> $arguments
     * @param array<string, mixed> $config
     * @param array<string, string> $environment
     */
    private function worker(array $arguments = [], array $config = [], array $environment = []): Process
    {
        return $this->application->start(['queue:work', '--sleep=0.02', ...$arguments], $config + self::LAZY, $environment);
    }
}
