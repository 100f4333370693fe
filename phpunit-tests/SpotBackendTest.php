<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PDO;
use PHPUnit\Framework\TestCase;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\SpotBackend;

/** The example exchange, from an event file to a clean audit, on the database under test. */
final class SpotBackendTest extends TestCase
{
    private const EVENTS = 40_000;

    private SpotBackend $spot;
    private string $input;

    protected function setUp(): void
    {
        $this->spot = new SpotBackend();
        $this->input = escapeshellarg($this->spot->writeEvents('events.csv', self::EVENTS));
        self::assertSame(0, $this->spot->artisan('spot:migrate-and-seed --fresh', $output), $output);
    }

    protected function tearDown(): void
    {
        $this->spot->remove();
    }

    public function testAWorkerThatIsStoppedDrainsAndIsResumedAndEveryStatementHolds(): void
    {
        foreach ([SIGTERM, SIGINT] as $signal) {
            $before = $this->spot->events();
            $worker = $this->spot->start("spot:process-orders $this->input", $pipe);
            $this->spot->waitForEvents($worker, $before);
            proc_terminate($worker, $signal);
            $output = (string) stream_get_contents($pipe);
            self::assertSame(0, $this->spot->end($worker), $output);
            self::assertStringContainsString("Stopped by signal $signal", $output);
            self::assertGreaterThan($before, $this->spot->events());
            self::assertLessThan(self::EVENTS, $this->spot->events(), 'the worker was too fast for this test');
            self::assertSame(0, $this->spot->artisan("spot:audit $this->input", $audit), $audit);
        }

        self::assertSame(0, $this->spot->artisan("spot:process-orders $this->input", $output), $output);
        self::assertSame(self::EVENTS, $this->spot->events());
        self::assertSame(0, $this->spot->artisan("spot:audit $this->input", $audit), $audit);
        self::assertStringContainsString('6 of 6 statements hold', $audit);
    }

    public function testTheAuditFindsAForgedBalance(): void
    {
        self::assertSame(0, $this->spot->artisan("spot:process-orders --limit=2000 $this->input", $output), $output);
        $this->spot->database()->exec('UPDATE spot_usd_accounts SET balance = 1 WHERE id = 1');
        self::assertSame(1, $this->spot->artisan("spot:audit $this->input", $audit), $audit);
    }

    public function testTheAuditNamesWhatIsBrokenWhateverIsFalsified(): void
    {
        if (!Database::isSqlite()) {
            self::markTestSkipped('The tamper check falsifies copies of an SQLite file; it runs beside SQLite.');
        }
        self::assertSame(0, $this->spot->artisan("spot:process-orders --limit=2000 $this->input", $output), $output);
        $check = [PHP_BINARY, __DIR__ . '/../examples/spot-backend/bin/tamper-check', "{$this->spot->directory}/spot.sqlite"];
        exec(implode(' ', array_map('escapeshellarg', $check)) . " $this->input 2>&1", $lines, $status);
        self::assertSame(0, $status, implode("\n", $lines));
        self::assertStringContainsString('20 passed, 0 failed', implode("\n", $lines));
    }

    public function testALineThatIsNoEventIsRefusedAndKeptAndTheWorkerGoesOn(): void
    {
        $lines = (array) file("{$this->spot->directory}/events.csv");
        $broken = ["nonsense\n", "1,2,3,four,1,created,bid\n", "1,2,3,4.55,1,created,bid\n", "1,2,3,4,1,created,up\n"];
        array_splice($lines, 100, 0, $broken);
        file_put_contents("{$this->spot->directory}/events.csv", $lines);

        self::assertSame(0, $this->spot->artisan("spot:process-orders --limit=2000 $this->input", $output), $output);
        self::assertStringContainsString('malformed 4', $output);
        self::assertStringContainsString("Event 101 is refused: 'four' is no decimal number", $output);
        self::assertSame(4, (int) $this->spot->value('SELECT count(*) FROM spot_refusals WHERE event BETWEEN 100 AND 103'));
        self::assertSame(0, $this->spot->artisan("spot:audit $this->input", $audit), $audit);
    }

    public function testASecondWorkerOfAMarketIsTurnedAwayAndTheFirstGoesOn(): void
    {
        $first = $this->spot->start("spot:process-orders $this->input", $pipe);
        $this->spot->waitForEvents($first, 0);
        self::assertSame(1, $this->spot->artisan("spot:process-orders $this->input", $output), $output);
        self::assertStringContainsString('usd_btc is worked by ' . gethostname(), $output);
        self::assertSame('', (string) $this->spot->value("SELECT input FROM spot_progress WHERE market = 'usd_btc' AND epoch <> 1"));
        proc_terminate($first, SIGTERM);
        $output = (string) stream_get_contents($pipe);
        self::assertSame(0, $this->spot->end($first), $output);
        self::assertSame(0, $this->spot->artisan("spot:audit $this->input", $audit), $audit);
    }

    public function testAnotherInputIsRefusedForAMarketThatHasOne(): void
    {
        self::assertSame(0, $this->spot->artisan("spot:process-orders --limit=100 $this->input", $output), $output);
        $other = escapeshellarg($this->spot->writeEvents('other.csv', 100));
        self::assertSame(1, $this->spot->artisan("spot:process-orders $other", $output), $output);
        self::assertStringContainsString('usd_btc goes on with events.csv, not with other.csv', $output);
    }

    public function testTheReportAgreesWithTheTrades(): void
    {
        self::assertSame(0, $this->spot->artisan("spot:process-orders --limit=5000 $this->input", $output), $output);
        self::assertSame(0, $this->spot->artisan('spot:report --json --top=3', $output), $output);
        [$report] = json_decode($output, true, 512, JSON_THROW_ON_ERROR);
        $sum = '0';
        foreach ($this->spot->database()->query('SELECT amount FROM order_transactions')->fetchAll(PDO::FETCH_COLUMN) as $amount) {
            $sum = bcadd($sum, (string) $amount, 10);
        }
        self::assertSame((int) $this->spot->value('SELECT count(*) FROM order_transactions'), $report['trades']);
        self::assertSame(0, bccomp($sum, $report['turnover'], 10));
        self::assertSame(5_000, $report['worker']['events']);
        self::assertCount(3, $report['top_accounts']);
        self::assertSame(0, $this->spot->artisan('spot:report', $table), $table);
        self::assertStringContainsString($report['turnover'] . ' usd', $table);
        self::assertSame(1, $this->spot->artisan('spot:report --market=usd_xyz', $output), $output);
    }
}
