<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use App\Spot\Exchange;
use App\Spot\Worker\Engines;
use App\Spot\Worker\MarketEngine;
use Illuminate\Contracts\Console\Kernel;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Testing\TestCase;
use Illuminate\Testing\TestResponse;
use PDO;
use WriteBuffer\Tests\Support\RedisServer;
use WriteBuffer\Tests\Support\SpotBackend;

require_once __DIR__ . '/../examples/spot-backend/bootstrap/autoload.php';

/** The example exchange over HTTP: its real routes and database, the engine in this process. */
final class SpotHttpTest extends TestCase
{
    private const NEVER_MS = 86_400_000;

    private string $directory = '';
    private ?RedisServer $server = null;

    public function createApplication(): Application
    {
        $app = require __DIR__ . '/../examples/spot-backend/bootstrap/app.php';
        $app->make(Kernel::class)->bootstrap();
        // Laravel's handlers would outlive this test; PHPUnit's see everything that matters.
        restore_error_handler();
        restore_exception_handler();
        return $app;
    }

    protected function setUp(): void
    {
        parent::setUp();
        $this->directory = sys_get_temp_dir() . '/write-buffer-spot-' . bin2hex(random_bytes(6));
        mkdir($this->directory, 0700);
        $this->open(['spot.flush_interval_ms' => self::NEVER_MS]);
    }

    protected function tearDown(): void
    {
        $this->closeEngines();
        if ($this->server !== null) {
            $this->server->remove();
        }
        $this->app->make('db')->disconnect();
        SpotBackend::removeTree($this->directory);
        parent::tearDown();
    }

    public function testAnOrderIsSeenAsItIsBeforeTheDatabaseKnowsOfIt(): void
    {
        $sell = $this->placed(1, 'sell', '2', '100.0');
        self::assertSame(['pending', '2.00000000', '0'], [$sell['status'], $sell['quantity'], $sell['executed_quantity']]);
        $this->assertBalances(1, ['1000', '1000'], ['10', '8']);

        $buy = $this->placed(2, 'buy', '0.5', '101.0');
        self::assertSame(['executed', '0.50000000', '100.0000000000'], [$buy['status'], $buy['executed_quantity'], $buy['executed_price']]);
        $sell = $this->order($sell['id']);
        self::assertSame(['executing', '0.50000000', '0.0500000000'], [$sell['status'], $sell['executed_quantity'], $sell['fee']]);
        // 0.1 % of what each receives: 0.05 usd of 50, 0.0005 btc of 0.5.
        $this->assertBalances(1, ['1049.95', '1049.95'], ['9.5', '8']);
        $this->assertBalances(2, ['950', '950'], ['10.4995', '10.4995']);

        $this->deleteJson("/api/markets/usd_btc/orders/{$sell['id']}", ['user_id' => 1])->assertOk()->assertJsonPath('order.status', 'canceled');
        $this->assertBalances(1, ['1049.95', '1049.95'], ['9.5', '9.5']);
        self::assertSame(0, $this->rows('orders'), 'something was flushed before it was asked for');

        self::assertTrue($this->engine()->drain()->isSuccess());
        self::assertSame(2, $this->rows('orders'));
        self::assertSame('canceled', $this->order($sell['id'])['status']);
        $this->assertBalances(1, ['1049.95', '1049.95'], ['9.5', '9.5']);
        $this->assertBalances(2, ['950', '950'], ['10.4995', '10.4995']);
        $this->assertAuditHolds();
    }

    public function testMarketOrdersTakeWhatTheBookHasAndWhatTheFundsReachFor(): void
    {
        $this->placed(1, 'sell', '3', '100.0');
        $this->placed(1, 'sell', '5', '200.0');
        $buy = $this->placed(2, 'buy', '4', null);
        self::assertSame(['executed', '4.00000000', '125.0000000000'], [$buy['status'], $buy['executed_quantity'], $buy['executed_price']]);
        $this->assertBalances(2, ['500', '500'], ['13.996', '13.996']);

        // 500 usd are left: 2.5 of the 9 at 200, and then the rest is canceled.
        $buy = $this->placed(2, 'buy', '9', null);
        self::assertSame(['canceled', '2.50000000'], [$buy['status'], $buy['executed_quantity']]);
        $this->assertBalances(2, ['0', '0'], ['16.4935', '16.4935']);

        // Nobody buys: a market sell finds nothing, and nothing of it stays locked.
        $sell = $this->placed(3, 'sell', '1', null);
        self::assertSame(['canceled', '0'], [$sell['status'], $sell['executed_quantity']]);
        $this->assertBalances(3, ['1000', '1000'], ['10', '10']);
        $this->assertAuditHolds();
    }

    public function testAnImmediateOrCancelOrderNeverWaitsInTheBook(): void
    {
        $this->placed(1, 'sell', '1', '100.0');
        $buy = $this->placed(2, 'buy', '3', '110.0', true);
        self::assertSame(['canceled', '1.00000000', 1], [$buy['status'], $buy['executed_quantity'], $buy['ioc']]);
        $this->assertBalances(2, ['900', '900'], ['10.999', '10.999']);
        // Had it rested at 110, this would match.
        self::assertSame('pending', $this->placed(3, 'sell', '1', '105.0')['status']);
        $this->assertAuditHolds();
    }

    public function testWhatCannotBeDoneIsRefusedWithAMessage(): void
    {
        $mine = $this->placed(1, 'sell', '1', '100.0');
        $refused = [
            'quantity has to be positive, not -1' => ['quantity' => '-1'],
            "'0.123456789' has more than 8 decimals" => ['quantity' => '0.123456789'],
            "the field 'quantity' has to be a text or an integer, not float" => ['quantity' => 0.1],
            'user 11 has no account in this market' => ['user_id' => 11],
            'the usd of user 2 does not reach' => ['quantity' => '10.00000001'],
            "type has to be limit or market, not 'stop'" => ['type' => 'stop'],
            "ioc has to be 0 or 1, not 'true'" => ['ioc' => 'true'],
            'a market order has no price' => ['type' => 'market'],
            "the field 'side' has to be a text or an integer, not array" => ['side' => ['buy']],
            "the field 'price' is missing" => ['price' => null],
        ];
        foreach ($refused as $message => $changes) {
            $order = $changes + ['user_id' => 2, 'side' => 'buy', 'type' => 'limit', 'quantity' => '1', 'price' => '100.0'];
            $this->postJson('/api/markets/usd_btc/orders', $order)->assertStatus(422)->assertJsonPath('message', $message);
        }
        $this->deleteJson("/api/markets/usd_btc/orders/{$mine['id']}", ['user_id' => 2])->assertStatus(422)
            ->assertJsonPath('message', "order {$mine['id']} is another user's");
        $this->deleteJson('/api/markets/usd_btc/orders/64', ['user_id' => 2])->assertStatus(422);
        $this->postJson('/api/markets/usd_xyz/orders', [])->assertNotFound();
        $this->getJson('/api/markets/usd_btc/orders/64')->assertNotFound();
        $this->getJson('/api/users/11/balances')->assertNotFound();
        self::assertTrue($this->engine()->drain()->isSuccess());
        self::assertSame(count($refused) + 2, $this->rows('spot_refusals'));
        // Laravel 11 and later say that it is no address at all.
        self::assertContains($this->postJson("/api/markets/usd_\xff/orders", [])->getStatusCode(), [400, 404]);
        $this->assertAuditHolds();
    }

    public function testAnOrderIdIsATextBecauseManyClientsReadNumbersAsFloats(): void
    {
        $id = $this->send(1, 'sell', '1', '100.0')->json('order.id');
        self::assertIsString($id);
        self::assertGreaterThan(2 ** 53, (int) $id);
        self::assertSame($id, $this->order($id)['id']);
    }

    public function testBalancesAreExactInEveryMomentOfTheBackgroundWriting(): void
    {
        $this->closeEngines();
        $this->open(['spot.flush_interval_ms' => 1]);
        $available = '1000';
        for ($n = 1; $n <= 300; $n++) {
            $this->placed(4, 'buy', '0.001', '1.0');
            $available = bcsub($available, '0.001', 10);
            self::assertSame($available, bcadd($this->balances(4)['usd']['available_balance'], '0', 10), "after order $n");
        }
        $this->assertAuditHolds();
    }

    public function testARequestSeesWhatTheOneBeforeLeftInTheBufferOfTheProcess(): void
    {
        $sell = $this->placed(1, 'sell', '2', '100.0');
        $this->boot(['spot.flush_interval_ms' => self::NEVER_MS]);
        $this->assertBalances(1, ['1000', '1000'], ['10', '8']);
        $this->boot(['spot.flush_interval_ms' => self::NEVER_MS]);
        self::assertSame('pending', $this->order($sell['id'])['status']);
        $this->assertAuditHolds();
    }

    public function testWithoutAnEngineInTheProcessOrdersGoToTheStreamOfTheirMarket(): void
    {
        $this->server = RedisServer::startOrSkip();
        $this->closeEngines();
        $this->open([
            'spot.gateway' => 'stream',
            'database.redis.stream.host' => '127.0.0.1',
            'database.redis.stream.port' => (string) $this->server->port,
        ]);
        $order = ['user_id' => 1, 'side' => 'sell', 'type' => 'market', 'quantity' => '2', 'price' => ['100.0']];
        $this->postJson('/api/markets/usd_btc/orders', $order)->assertStatus(422);
        $sell = $this->accepted(1, 'sell', '2', '100.0');
        $buy = $this->accepted(2, 'buy', '0.5', '101.0');
        $this->postJson('/api/markets/usd_btc/orders', ['user_id' => 2])->assertStatus(422);
        $this->getJson("/api/markets/usd_btc/orders/$sell")->assertNotFound();

        $this->command('spot:process-orders --stream --stop-when-idle=200');
        self::assertSame('executed', $this->order($buy)['status']);
        $this->deleteJson("/api/markets/usd_btc/orders/$sell", ['user_id' => 1])->assertStatus(202);
        self::assertSame('executing', $this->order($sell)['status']);
        $this->command('spot:process-orders --stream --stop-when-idle=200');
        self::assertSame('canceled', $this->order($sell)['status']);
        $this->assertBalances(1, ['1049.95', '1049.95'], ['9.5', '9.5']);
        $this->assertAuditHolds();

        // Nobody knows whether an order got there when the answer is lost: its id says it later.
        $this->server->kill();
        $lost = $this->send(1, 'sell', '2', '100.0')->assertStatus(503)->json('order_id');
        $this->server->start();
        $this->getJson("/api/markets/usd_btc/orders/$lost")->assertNotFound();
        $this->accepted(1, 'sell', '2', '100.0');
    }

    /** @param array<string, mixed> $config a fresh exchange of ten users with 1000 usd and 10 btc each */
    private function open(array $config): void
    {
        $this->boot($config);
        $this->command('spot:migrate-and-seed --fresh');
    }

    /** @param array<string, mixed> $config the application anew, as for the next request under php-fpm */
    private function boot(array $config): void
    {
        $this->refreshApplication();
        $database = [];
        foreach (SpotBackend::databaseEnvironment("$this->directory/spot.sqlite") as $name => $value) {
            $key = strtolower(substr($name, strlen('DB_')));
            $database[$key] = $value;
        }
        $driver = $database['connection'];
        unset($database['connection']);
        $this->app->useStoragePath($this->directory);
        $repository = $this->app->make('config');
        $repository->set('database.default', $driver);
        $repository->set("database.connections.$driver", $database + $repository->get("database.connections.$driver"));
        $repository->set('spot.gateway', 'direct');
        $repository->set('spot.journal', 'off');
        $repository->set('spot.users', 10);
        $repository->set('spot.deposit', ['usd' => '1000', 'btc' => '10']);
        array_map($repository->set(...), array_keys($config), $config);
    }

    /** Not artisan() of Laravel's tests: that needs Mockery, which Debian's packages do without. */
    private function command(string $command): void
    {
        $kernel = $this->app->make(Kernel::class);
        self::assertSame(0, $kernel->call($command), $kernel->output());
    }

    private function closeEngines(): void
    {
        foreach ($this->app->make(Engines::class)->atWork() as $engine) {
            $engine->close();
        }
    }

    private function engine(): MarketEngine
    {
        return $this->app->make(Engines::class)->of($this->app->make(Exchange::class)->market('usd_btc'));
    }

    private function send(int $user, string $side, string $quantity, ?string $price, bool $ioc = false): TestResponse
    {
        $order = ['user_id' => $user, 'side' => $side, 'type' => $price === null ? 'market' : 'limit', 'quantity' => $quantity, 'ioc' => $ioc];
        return $this->postJson('/api/markets/usd_btc/orders', $order + ($price === null ? [] : ['price' => $price]));
    }

    /** @return array<string, mixed> */
    private function placed(int $user, string $side, string $quantity, ?string $price, bool $ioc = false): array
    {
        return $this->send($user, $side, $quantity, $price, $ioc)->assertCreated()->json('order');
    }

    private function accepted(int $user, string $side, string $quantity, ?string $price): string
    {
        return $this->send($user, $side, $quantity, $price)->assertStatus(202)->json('order_id');
    }

    /** @return array<string, mixed> */
    private function order(string $id): array
    {
        return $this->getJson("/api/markets/usd_btc/orders/$id")->assertOk()->json('order');
    }

    /** @return array<string, array<string, string>> */
    private function balances(int $user): array
    {
        return $this->getJson("/api/users/$user/balances")->assertOk()->json('balances');
    }

    /**
     * @param array{string, string} $usd balance and available
     * @param array{string, string} $btc
     */
    private function assertBalances(int $user, array $usd, array $btc): void
    {
        $wanted = ['usd' => $usd, 'btc' => $btc];
        foreach ($this->balances($user) as $currency => $amounts) {
            $wantedAmounts = array_map(static fn (string $amount): string => bcadd($amount, '0', 10), $wanted[$currency]);
            self::assertSame($wantedAmounts, [$amounts['balance'], $amounts['available_balance']], "$currency of user $user");
        }
    }

    private function assertAuditHolds(): void
    {
        foreach ($this->app->make(Engines::class)->atWork() as $engine) {
            $engine->buffer->flush();
        }
        $this->command('spot:audit');
    }

    private function rows(string $table): int
    {
        return (int) $this->app->make('db')->connection()->getPdo()->query("SELECT count(*) FROM $table")->fetch(PDO::FETCH_COLUMN);
    }
}
