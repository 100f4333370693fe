<?php

declare(strict_types=1);

namespace App\Providers;

use App\Spot\Market;
use Illuminate\Contracts\Config\Repository;
use Illuminate\Contracts\Foundation\Application;
use Illuminate\Support\ServiceProvider;

final class AppServiceProvider extends ServiceProvider
{
    public function register(): void
    {
        $this->app->singleton(
            Market::class,
            static fn (Application $app): Market => Market::fromConfig($app->make(Repository::class)->get('spot')),
        );
    }
}
