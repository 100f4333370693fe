<?php

declare(strict_types=1);

use Illuminate\Contracts\Console\Kernel as ConsoleKernel;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Http\Kernel as HttpKernel;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Exceptions\Handler;

$app = new Application(dirname(__DIR__));

// Laravel 11 and later merge config files of the framework's Composer tree, which Debian's
// package lays out elsewhere. This application brings all it needs in config/.
if (method_exists($app, 'dontMergeFrameworkConfiguration')) {
    $app->dontMergeFrameworkConfiguration();
}

$app->singleton(ConsoleKernel::class, App\Console\Kernel::class);
$app->singleton(HttpKernel::class, App\Http\Kernel::class);
$app->singleton(ExceptionHandler::class, Handler::class);

return $app;
