<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\TestCase;
use Redis;
use WriteBuffer\Tests\Support\RedisServer;
use WriteBuffer\Tests\Support\ServerControl;
use WriteBuffer\Tests\Support\SpotBackend;

/** Orders out of a Redis stream, through workers that die, to a database that has each once. */
final class SpotStreamTest extends TestCase
{
    private const USERS = 20;
    private const MARKETS = 64;

    private RedisServer $server;
    private SpotBackend $spot;
    private Redis $redis;
    private int $orders = 0;
    private string $market = 'usd_btc';
    private int $number = 0;

    protected function setUp(): void
    {
        $this->server = RedisServer::startOrSkip();
        $this->redis = $this->server->connect();
        $this->spot = new SpotBackend($this->server->environment() + ['SPOT_USERS' => (string) self::USERS]);
        self::assertSame(0, $this->spot->artisan('spot:migrate-and-seed --fresh', $output), $output);
    }

    protected function tearDown(): void
    {
        if (isset($this->spot)) {
            $this->spot->remove();
        }
        if (isset($this->server)) {
            $this->server->remove();
        }
    }

    public function testEveryEntryIsInEffectOnceThoughTheWorkerIsKilledTenTimes(): void
    {
        $entries = 20_000;
        $this->addOrders($entries);
        for ($kill = 0; $kill < 10; $kill++) {
            // Without a journal what was not committed is gone, and only the stream has it.
            $journal = $kill % 2 === 0 ? '' : '--journal=off';
            $worker = $this->spot->start($this->worker("--max-buffer=200 --max-pending=2000 $journal"), $pipe);
            $this->spot->waitForEvents($worker, $this->spot->events());
            usleep(mt_rand(0, 60_000));
            proc_terminate($worker, SIGKILL);
            $this->spot->end($worker);
        }
        self::assertLessThan($entries, $this->spot->events(), 'the worker was too fast for this test');
        $output = $this->workToTheEnd();
        self::assertStringContainsString('Resuming after event', $output);
        $this->assertAllInEffect($entries);
    }

    public function testTwoMarketsOnSharedFundsReserveOnceThoughBothWorkersAreKilled(): void
    {
        $markets = ['usd_btc', 'usd_eth'];
        $this->spot = $this->spot->with(['SPOT_MARKETS' => implode(',', $markets), 'SPOT_DEPOSIT_USD' => '300000']);
        self::assertSame(0, $this->spot->artisan('spot:migrate-and-seed --fresh', $output), $output);
        foreach ($markets as $this->number => $this->market) {
            $this->addOrders(8_000);
        }
        for ($kill = 0; $kill < 5; $kill++) {
            $workers = array_map(fn (string $market) => $this->spot->start($this->worker("--market=$market --max-pending=2000"), $pipe), $markets);
            $this->spot->waitForEvents($workers[$kill % 2], $this->spot->events($markets[$kill % 2]), $markets[$kill % 2]);
            usleep(mt_rand(0, 60_000));
            foreach ($workers as $worker) {
                proc_terminate($worker, SIGKILL);
                $this->spot->end($worker);
            }
            self::assertSame(0, $this->spot->artisan('spot:audit', $audit), $audit);
        }
        foreach ($markets as $this->market) {
            self::assertSame(0, $this->spot->artisan($this->worker("--market=$this->market"), $output), $output);
            self::assertMatchesRegularExpression('/Resuming after event/', $output);
        }
        foreach ($markets as $this->market) {
            $this->assertAllInEffect(8_000);
        }
        self::assertSame(0, (int) $this->spot->value("SELECT count(*) FROM orders WHERE status = 'new'"));
        self::assertGreaterThan(0, (int) $this->spot->value("SELECT count(*) FROM spot_refusals WHERE reason LIKE 'the usd of%'"));
        self::assertGreaterThan(0, (int) $this->spot->value("SELECT count(*) FROM orders WHERE type = 'market' AND trade_type = 'buy' AND status = 'executed'"));
    }

    public function testEntriesThatWereCommittedAndNotAcknowledgedAreKnownWhenTheyComeAgain(): void
    {
        $this->addOrders(1_500);
        // As if the worker had died between each commit and its acknowledgement.
        $this->redis->rawCommand('ACL', 'SETUSER', 'default', '-xack');
        self::assertSame(1, $this->spot->artisan($this->worker(), $output), $output);
        self::assertStringContainsString('Redis refuses', $output);
        $committed = $this->spot->events();
        self::assertGreaterThan(0, $committed);
        self::assertGreaterThanOrEqual($committed, $this->pending());
        $this->redis->rawCommand('ACL', 'SETUSER', 'default', '+xack');

        $output = $this->workToTheEnd();
        self::assertStringContainsString("delivered again $committed\n", $output);
        $this->assertAllInEffect(1_500);
    }

    public function testAnEntryIsNotAcknowledgedBeforeItIsCommitted(): void
    {
        $this->addOrders(300);
        $worker = $this->startThatWritesNothing($pipe, '--journal=off');
        // By the time that it has applied another one, it has looked at what may be acknowledged.
        $this->addOrders(1);
        $this->waitUntilApplied($worker, 301);
        proc_terminate($worker, SIGKILL);
        $this->spot->end($worker);
        self::assertSame(301, $this->pending());
        self::assertSame(0, $this->spot->events());
        $this->workToTheEnd();
        $this->assertAllInEffect(301);
    }

    public function testAWorkerThatWasTakenOverWritesNothingMoreAndStandsInNobodysWay(): void
    {
        $entries = 0;
        foreach ([SIGTERM, SIGKILL] as $signal) {
            $this->addOrders(300);
            $first = $this->startThatWritesNothing($pipe);
            self::assertSame(0, $this->spot->artisan($this->worker('--take-over'), $output), $output);
            $this->assertAllInEffect($entries += 300);
            proc_terminate($first, $signal);
            $output = (string) stream_get_contents($pipe);
            self::assertSame($signal === SIGTERM ? 1 : -1, $this->spot->end($first), $output);
            self::assertStringContainsString($signal === SIGTERM ? 'The database refused' : '', $output);
            // The next one is of the same host, and may touch all the same rows.
            $this->addOrders(300);
            $this->workToTheEnd();
            $this->assertAllInEffect($entries += 300);
        }
    }

    public function testAStreamThatWentToAnotherDatabaseIsNotGoneOnWithSilently(): void
    {
        $this->addOrders(1_200);
        $this->workToTheEnd();
        self::assertSame(0, $this->spot->artisan('spot:migrate-and-seed --fresh', $output), $output);
        self::assertSame(1, $this->spot->artisan($this->worker(), $output), $output);
        self::assertStringContainsString('was acknowledged, but this database ends at 0-0', $output);
        self::assertSame(0, $this->spot->events());

        $this->redis->xGroup('DESTROY', $this->stream(), 'spot');
        $this->workToTheEnd();
        $this->assertAllInEffect(1_200);
    }

    public function testARedisThatIsAwayForAWhileIsWaitedForAndNothingIsPassedOver(): void
    {
        $this->addOrders(20_000);
        $worker = $this->spot->start("spot:process-orders --stream --flush-interval=20 --max-pending=3000 {$this->spot->journal()}", $pipe);
        $this->spot->waitForEvents($worker, 0);
        $this->server->kill();
        usleep(300_000);
        self::assertTrue(proc_get_status($worker)['running'], 'the worker gave up');
        $this->server->start();
        $this->redis = $this->server->connect();
        $this->spot->waitForEvents($worker, 19_999);
        proc_terminate($worker, SIGTERM);
        $output = (string) stream_get_contents($pipe);
        self::assertSame(0, $this->spot->end($worker), $output);
        $this->assertAllInEffect(20_000);
    }

    public function testADatabaseThatIsAwayForAWhileIsWaitedFor(): void
    {
        foreach (['usd_btc', 'usd_btc,usd_eth'] as $round => $markets) {
            // With two markets funds are reserved in the database, too.
            $this->spot = $this->spot->with(['SPOT_MARKETS' => $markets]);
            self::assertSame(0, $this->spot->artisan('spot:migrate-and-seed --fresh', $output), $output);
            $this->redis->del($this->stream());
            $this->addOrders(8_000);
            $worker = $this->spot->start("spot:process-orders --stream --flush-interval=20 --max-pending=3000 {$this->spot->journal()}", $pipe);
            $this->spot->waitForEvents($worker, 0);
            // SQLite is never away: there the worker just goes on.
            ServerControl::get()->away(static fn () => null);
            $this->spot->waitForEvents($worker, 7_999);
            proc_terminate($worker, SIGTERM);
            $output = (string) stream_get_contents($pipe);
            self::assertSame(0, $this->spot->end($worker), "round $round: $output");
            $this->assertAllInEffect(8_000);
        }
    }

    public function testWhatCannotBeDoneIsRefusedWithAReasonAndTheNextEntryIsProcessed(): void
    {
        $this->spot = $this->spot->with(['SPOT_DEPOSIT_USD' => '1000000']);
        self::assertSame(0, $this->spot->artisan('spot:migrate-and-seed --fresh', $output), $output);
        $reasons = [];
        foreach ($this->badEntries() as $reason => $fields) {
            $this->add($fields);
            $reasons[] = $reason;
            $this->add($this->order());
        }
        $lost = $this->add($this->order());
        $this->redis->xGroup('CREATE', $this->stream(), 'spot', '0', true);
        $this->redis->xReadGroup('spot', 'worker', [$this->stream() => '>'], 1_000);
        $this->redis->xDel($this->stream(), [$lost]);

        $output = $this->workToTheEnd();
        $stored = $this->spot->database()->query('SELECT reason FROM spot_refusals ORDER BY event')->fetchAll(\PDO::FETCH_COLUMN);
        self::assertSame([...$reasons, 'the entry was removed from the stream before it was consumed'], $stored);
        self::assertMatchesRegularExpression('/placed ' . (count($reasons) + 1) . ', refused 4,/', $output);
        self::assertStringContainsString('for unknown ids 1, for orders of others 1, malformed ' . (count($reasons) - 5), $output);
        self::assertSame(0, $this->pending());
        self::assertSame(count($reasons) + 1, (int) $this->spot->value("SELECT count(*) FROM orders WHERE status <> 'removed'"));
    }

    public function testProcessOrderIsAJobThatWorksTheStreamAndQueuesItselfAgain(): void
    {
        $this->addOrders(2_000);
        foreach (['database', 'redis'] as $round => $queue) {
            $this->spot = $this->spot->with(['QUEUE_CONNECTION' => $queue, 'SPOT_JOURNAL' => 'off']);
            // So short that one queue worker runs the job several times.
            self::assertSame(0, $this->spot->artisan('spot:queue-orders --run=20', $output), $output);
            $worker = $this->spot->start('queue:work --sleep=0', $pipe);
            $this->spot->waitForEvents($worker, 1_000 * $round);
            for ($i = 0; $i < 500 && $this->spot->events() < 2_000 * ($round + 1); $i++) {
                usleep(20_000);
            }
            proc_terminate($worker, SIGTERM);
            $output = (string) stream_get_contents($pipe);
            self::assertSame(0, $this->spot->end($worker), $output);
            $this->assertAllInEffect(2_000 * ($round + 1));
            $queued = $queue === 'database' ? (int) $this->spot->value('SELECT count(*) FROM jobs') : $this->redis->lLen('queues:default');
            self::assertSame(1, $queued, 'the job did not queue itself again');
            self::assertGreaterThan(1, (int) $this->spot->value('SELECT max(epoch) FROM spot_progress'));
            $this->addOrders(2_000);
        }
    }

    public function testAJobThatMeetsAnotherWorkerOfItsMarketEnds(): void
    {
        $this->addOrders(500);
        $worker = $this->spot->start('spot:process-orders --stream', $pipe);
        $this->spot->waitForEvents($worker, 0);
        self::assertSame(0, $this->spot->artisan('spot:queue-orders --once', $output), $output);
        self::assertSame(0, $this->spot->artisan('queue:work --stop-when-empty', $output), $output);
        self::assertSame(0, (int) $this->spot->value('SELECT count(*) FROM jobs'));
        self::assertSame(0, (int) $this->spot->value('SELECT count(*) FROM failed_jobs'));
        proc_terminate($worker, SIGTERM);
        $output = (string) stream_get_contents($pipe);
        self::assertSame(0, $this->spot->end($worker), $output);
        self::assertSame(1, (int) $this->spot->value('SELECT max(epoch) FROM spot_progress'));
        $this->assertAllInEffect(500);
    }

    private function stream(): string
    {
        return "spot:orders:$this->market";
    }

    private function worker(string $options = ''): string
    {
        return "spot:process-orders --stream --stop-when-idle=1000 --flush-interval=20 {$this->spot->journal()} $options";
    }

    /**
     * A worker that has applied 300 entries more and keeps them in its buffer.
     *
     * @param resource|null $pipe
     * @return resource
     */
    private function startThatWritesNothing(&$pipe, string $options = '')
    {
        $options .= ' --flush-interval=3600000 --max-buffer=100000 --acknowledge=' . escapeshellarg("{$this->spot->directory}/applied");
        $before = $this->spot->events();
        $worker = $this->spot->start("spot:process-orders --stream {$this->spot->journal()} $options", $pipe);
        $this->waitUntilApplied($worker, $before + 300);
        return $worker;
    }

    /** @param resource $worker */
    private function waitUntilApplied($worker, int $events): void
    {
        $file = "{$this->spot->directory}/applied";
        for ($i = 0; $i < 6_000 && (int) @file_get_contents($file) < $events && proc_get_status($worker)['running']; $i++) {
            usleep(10_000);
        }
        self::assertSame($events, (int) file_get_contents($file));
    }

    private function workToTheEnd(): string
    {
        self::assertSame(0, $this->spot->artisan($this->worker(), $output), $output);
        return $output;
    }

    private function assertAllInEffect(int $entries): void
    {
        self::assertSame($entries, $this->spot->events($this->market));
        self::assertSame(0, $this->pending(), 'entries that are not acknowledged');
        self::assertSame(0, $this->spot->artisan('spot:audit', $audit), $audit);
        self::assertStringContainsString('6 of 6 statements hold', $audit);
    }

    private function pending(): int
    {
        $pending = $this->redis->xPending($this->stream(), 'spot');
        return is_array($pending) ? (int) $pending[0] : 0;
    }

    /** Limit, immediate-or-cancel and market orders, and cancels of all of them; a few are malformed. */
    private function addOrders(int $entries): void
    {
        mt_srand(11 + $this->orders);
        $open = [];
        for ($n = 0; $n < $entries; $n++) {
            $kind = mt_rand(1, 100);
            if ($kind > 75 && $open !== []) {
                $id = array_rand($open);
                $fields = ['action' => 'cancel', 'market' => $this->market, 'order_id' => $id, 'user_id' => $open[$id]];
                unset($open[$id]);
            } elseif ($kind === 1) {
                $fields = $this->order(['quantity' => '-1']);
            } else {
                $price = sprintf('%.1F', 78_000 + mt_rand(-60, 60) / 10);
                $fields = $this->order(['price' => $price, 'quantity' => sprintf('%.8F', mt_rand(1_000, 90_000_000) / 1e8)]);
                if ($kind <= 10) {
                    $fields['ioc'] = '1';
                } elseif ($kind <= 18) {
                    $fields['type'] = 'market';
                    unset($fields['price']);
                }
                $open[$fields['order_id']] = $fields['user_id'];
            }
            $this->add($fields);
        }
    }

    /**
     * @param array<string, string|int> $changes
     * @return array<string, string|int>
     */
    private function order(array $changes = []): array
    {
        return $changes + [
            'action' => 'place',
            'market' => $this->market,
            'order_id' => ++$this->orders * self::MARKETS + $this->number,
            'user_id' => mt_rand(1, self::USERS),
            'side' => mt_rand(0, 1) === 0 ? 'buy' : 'sell',
            'type' => 'limit',
            'quantity' => '0.5',
            'price' => '78000.0',
        ];
    }

    /** @param array<string, string|int> $fields */
    private function add(array $fields): string
    {
        return (string) $this->redis->xAdd($this->stream(), '*', $fields);
    }

    /** @return iterable<string, array<string, string|int>> by the reason of their refusal */
    private function badEntries(): iterable
    {
        $order = $this->order(['side' => 'sell', 'price' => '99999.0', 'user_id' => 7]);
        yield "the field 'action' is missing" => ['hello' => 'world'];
        yield "action has to be place or cancel, not 'buy'" => $this->order(['action' => 'buy']);
        yield "market 'usd_doge' is not usd_btc, which this stream is of" => $this->order(['market' => 'usd_doge']);
        yield "'7; DROP TABLE orders' is no decimal number" => $this->order(['user_id' => '7; DROP TABLE orders']);
        yield 'user_id has to be between 1 and 4294967295, not 0' => $this->order(['user_id' => 0]);
        yield 'order_id 65 is none of usd_btc: it has to be 0 modulo 64' => $this->order(['order_id' => 65]);
        yield 'quantity has to be positive, not -1' => $this->order(['quantity' => '-1']);
        yield 'quantity has to be positive, not 0' => $this->order(['quantity' => '0']);
        yield "'0.123456789' has more than 8 decimals" => $this->order(['quantity' => '0.123456789']);
        yield "'NaN' is no decimal number" => $this->order(['quantity' => 'NaN']);
        yield "'1.23' has more than 1 decimals" => $this->order(['price' => '1.23']);
        yield "'99999999999999999999' does not fit 64 bits at scale 8" => $this->order(['quantity' => '99999999999999999999']);
        yield "side has to be buy or sell, not 'hold'" => $this->order(['side' => 'hold']);
        yield "type has to be limit or market, not '" . str_repeat('x', 40) . "…'" => $this->order(['type' => str_repeat('x', 5_000)]);
        yield "ioc has to be 0 or 1, not 'yes\u{1F600}?'" => $this->order(['ioc' => "yes\u{1F600}\xff"]);
        yield "user 4000000 has no account in this market" => $this->order(['user_id' => 4_000_000]);
        yield 'the usd of user 3 does not reach' => $this->order(['user_id' => 3, 'side' => 'buy', 'quantity' => '90', 'price' => '78000.0']);
        yield 'price x quantity is beyond what an account can hold' => $this->order(['quantity' => '900000', 'price' => '922000000']);
        $this->add($order);
        yield "order {$order['order_id']} was placed before" => $order;
        yield "order {$order['order_id']} is another user's" => ['action' => 'cancel', 'market' => 'usd_btc', 'order_id' => $order['order_id'], 'user_id' => 8];
        yield 'order 6400000 was never placed' => ['action' => 'cancel', 'market' => 'usd_btc', 'order_id' => 6_400_000, 'user_id' => 8];
    }
}
