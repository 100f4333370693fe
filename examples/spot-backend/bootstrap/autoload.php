<?php

declare(strict_types=1);

/*
 * Composer's autoloader where there is one, else Debian's packages: `php-laravel-framework`
 * puts `Illuminate/autoload.php` on PHP's include path, and the application's own classes
 * follow PSR-4.
 */

if (is_file(__DIR__ . '/../vendor/autoload.php')) {
    require __DIR__ . '/../vendor/autoload.php';

    return;
}

$laravel = stream_resolve_include_path('Illuminate/autoload.php');

if ($laravel === false) {
    fwrite(STDERR, "Laravel was found neither in vendor/ nor on the include path.\n"
        . "Run `composer install` here, or install Debian's php-laravel-framework.\n");
    exit(1);
}

require $laravel;

spl_autoload_register(static function (string $class): void {
    foreach (['App\\' => 'app', 'Database\\Seeders\\' => 'database/seeders'] as $prefix => $directory) {
        if (str_starts_with($class, $prefix)) {
            $path = str_replace('\\', '/', substr($class, strlen($prefix)));
            $file = dirname(__DIR__) . "/{$directory}/{$path}.php";

            if (is_file($file)) {
                require $file;
            }

            return;
        }
    }
});
