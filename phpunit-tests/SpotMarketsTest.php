<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\TestCase;
use WriteBuffer\Tests\Support\SpotBackend;

/** Two markets at once that lock funds in the same accounts, each with a worker of its own. */
final class SpotMarketsTest extends TestCase
{
    private const MARKETS = ['usd_btc', 'usd_eth'];

    private SpotBackend $spot;
    private int $events = 0;

    /** @var array<string, string> by market */
    private array $inputs = [];

    protected function tearDown(): void
    {
        $this->spot->remove();
    }

    /** SPOT_TEST_EVENTS=120000 makes it 100,000 matches and more. */
    public function testTwoMarketsShareQuoteAccountsAndEveryStatementHolds(): void
    {
        $this->open('200000000', (int) (getenv('SPOT_TEST_EVENTS') ?: 8_000));
        $outputs = $this->work();
        foreach ($outputs as $output) {
            self::assertStringContainsString('refused 0,', $output);
            self::assertStringNotContainsString('Exception', $output);
        }
        self::assertGreaterThan(intdiv($this->events * 9, 10), (int) $this->spot->value('SELECT count(*) FROM order_transactions'));
        $this->assertAuditHolds();
    }

    public function testFundsThatBothMarketsWantAreLockedOnce(): void
    {
        // A tenth of the orders at a time is all that the 20 users can pay.
        $this->open('400000');
        $outputs = $this->work();
        self::assertMatchesRegularExpression('/refused [1-9]/', $outputs['usd_btc']);
        self::assertMatchesRegularExpression('/refused [1-9]/', $outputs['usd_eth']);
        self::assertSame(
            (int) $this->spot->value("SELECT count(*) FROM orders WHERE status = 'removed'"),
            (int) $this->spot->value("SELECT count(*) FROM spot_refusals WHERE reason LIKE 'the usd of user % does not reach'"),
        );
        $this->assertAuditHolds();
    }

    public function testWorkersThatAreKilledBetweenReservingAndPlacingLeaveNoLockWithoutAnOrder(): void
    {
        $this->open('200000000', 20_000);
        for ($kill = 0; $kill < 4; $kill++) {
            $workers = $this->start();
            $market = self::MARKETS[$kill % 2];
            $this->spot->waitForEvents($workers[$market][0], $this->spot->events($market), $market);
            foreach ($workers as [$worker]) {
                usleep(mt_rand(0, 50_000));
                proc_terminate($worker, SIGKILL);
            }
            array_map(fn (array $worker): int => $this->spot->end($worker[0]), $workers);
            $this->assertAuditHolds();
        }
        foreach (self::MARKETS as $market) {
            self::assertLessThan($this->events, $this->spot->events($market), 'the workers were too fast for this test');
        }
        $this->work();
        $this->assertAuditHolds();
    }

    public function testTheAuditFindsFundsThatAreReservedForAnOrderThatIsInNoInput(): void
    {
        $this->open('200000000', 400);
        $this->work();
        $this->assertAuditHolds();
        $database = $this->spot->database();
        $order = ['id' => 64, 'user_id' => 1, 'trade_type' => 'buy', 'currency' => 'usd', 'coin' => 'btc', 'type' => 'limit', 'status' => 'new',
            'quantity' => '1', 'price' => '1', 'created_at' => 1, 'updated_at' => 1];
        $columns = implode(', ', array_keys($order));
        $database->prepare("INSERT INTO orders ($columns) VALUES (" . rtrim(str_repeat('?, ', count($order)), ', ') . ')')->execute(array_values($order));
        $available = (string) $this->spot->value('SELECT available_balance FROM spot_usd_accounts WHERE id = 1');
        $database->prepare('UPDATE spot_usd_accounts SET available_balance = ? WHERE id = 1')->execute([bcsub($available, '1', 10)]);
        self::assertSame(1, $this->audit($output), $output);
        self::assertStringContainsString('funds are reserved for order 64 of usd_btc, which does not come in its input', $output);
    }

    private function open(string $deposit, int $events = 8_000): void
    {
        $this->events = $events;
        $this->spot = new SpotBackend(['SPOT_MARKETS' => implode(',', self::MARKETS), 'SPOT_USERS' => '20', 'SPOT_DEPOSIT_USD' => $deposit]);
        self::assertSame(0, $this->spot->artisan('spot:migrate-and-seed --fresh', $output), $output);
        foreach (self::MARKETS as $seed => $market) {
            $this->inputs[$market] = $this->spot->writeEvents("$market.csv", $this->events, 20 + $seed);
        }
    }

    /** @return array<string, array{resource, resource}> process and pipe by market */
    private function start(): array
    {
        $workers = [];
        foreach ($this->inputs as $market => $input) {
            $arguments = "spot:process-orders --market=$market --flush-interval=20 --max-pending=2000 {$this->spot->journal()} " . escapeshellarg($input);
            $workers[$market] = [$this->spot->start($arguments, $pipe), $pipe];
        }
        return $workers;
    }

    /** @return array<string, string> what the workers said, by market */
    private function work(): array
    {
        $outputs = [];
        foreach ($this->start() as $market => [$worker, $pipe]) {
            $outputs[$market] = (string) stream_get_contents($pipe);
            self::assertSame(0, $this->spot->end($worker), $outputs[$market]);
            self::assertSame($this->events, $this->spot->events($market));
        }
        return $outputs;
    }

    private function assertAuditHolds(): void
    {
        self::assertSame(0, $this->audit($output), $output);
        self::assertStringContainsString('6 of 6 statements hold', $output);
    }

    private function audit(?string &$output): int
    {
        $files = implode(' ', array_map(fn (string $market): string => escapeshellarg("$market={$this->inputs[$market]}"), self::MARKETS));
        return $this->spot->artisan("spot:audit $files", $output);
    }
}
