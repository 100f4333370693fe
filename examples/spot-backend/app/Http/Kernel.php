<?php

declare(strict_types=1);

namespace App\Http;

use Illuminate\Contracts\Foundation\Application;
use Illuminate\Foundation\Http\Kernel as HttpKernel;
use Illuminate\Http\Middleware\ValidatePathEncoding;
use Illuminate\Routing\Router;

final class Kernel extends HttpKernel
{
    public function __construct(Application $app, Router $router)
    {
        // From Laravel 11 on: else a path that is no UTF-8 breaks the message that it is not found.
        if (class_exists(ValidatePathEncoding::class)) {
            $this->middleware[] = ValidatePathEncoding::class;
        }
        parent::__construct($app, $router);
    }
}
