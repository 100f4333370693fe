<?php

declare(strict_types=1);

spl_autoload_register(static function (string $class): void {
    $prefix = 'WriteBuffer\\Bench\\';
    if (str_starts_with($class, $prefix)) {
        require __DIR__ . '/src/' . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
    }
});

// Laravel and Symfony: Composer's where it was run, else Debian's.
$composer = dirname(__DIR__) . '/vendor/autoload.php';
is_file($composer) ? require $composer : require 'Illuminate/autoload.php';
