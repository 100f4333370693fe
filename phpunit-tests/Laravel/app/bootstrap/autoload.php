<?php

declare(strict_types=1);

// Composer's autoloader where the repository has one, else Debian's packages on the include path.

$repository = (string) getenv('WRITE_BUFFER_REPOSITORY');
$composer = "$repository/vendor/autoload.php";
require_once is_file($composer) ? $composer : 'Illuminate/autoload.php';

spl_autoload_register(static function (string $class) use ($repository): void {
    $roots = [
        'App\\' => [dirname(__DIR__) . '/app'],
        'WriteBuffer\\' => ["$repository/laravel/src", "$repository/laravel/src/polyfill"],
    ];
    foreach ($roots as $prefix => $directories) {
        foreach (str_starts_with($class, $prefix) ? $directories : [] as $directory) {
            $file = $directory . '/' . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
            if (is_file($file)) {
                require $file;
                return;
            }
        }
    }
});
