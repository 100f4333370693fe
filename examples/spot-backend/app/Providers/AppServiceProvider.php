<?php

declare(strict_types=1);

namespace App\Providers;

use App\Spot\Exchange;
use App\Spot\Gateway\DirectGateway;
use App\Spot\Gateway\OrderGateway;
use App\Spot\Gateway\StreamGateway;
use App\Spot\Worker\Engines;
use App\Spot\Worker\WorkerSettings;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Database\Connection;
use Illuminate\Support\ServiceProvider;
use InvalidArgumentException;

final class AppServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->app->singleton(
            Exchange::class,
            static fn (Application $app): Exchange => Exchange::fromConfig($app->make(Repository::class)->get('spot')),
        );
        $this->app->singleton(WorkerSettings::class, static fn (Application $app): WorkerSettings => new WorkerSettings(
            journal: (string) $app->make(Repository::class)->get('spot.journal'),
            journalDir: storage_path('app/journal'),
            flushIntervalMs: (int) $app->make(Repository::class)->get('spot.flush_interval_ms'),
            leaseMs: (int) $app->make(Repository::class)->get('spot.lease_ms'),
        ));
        $this->app->bind(Connection::class, static fn (Application $app): Connection => $app->make('db')->connection());
        $this->app->singleton(Engines::class);
        $this->app->when(Engines::class)->needs('$isDirect')
            ->give(static fn (Application $app): bool => $app->make(Repository::class)->get('spot.gateway') === 'direct');
        $this->app->singleton(OrderGateway::class, static function (Application $app): OrderGateway {
            $gateway = $app->make(Repository::class)->get('spot.gateway');

            return $app->make(match ($gateway) {
                'stream' => StreamGateway::class,
                'direct' => DirectGateway::class,
                default => throw new InvalidArgumentException("SPOT_GATEWAY has to be stream or direct, not '{$gateway}'."),
            });
        });
    }
}
