<?php

declare(strict_types=1);

// Without WRITE_BUFFER_TEST_DSN the tests use an SQLite file of their own. Everything else
// about buffers comes from the tests, never from the environment they run in. With
// WRITE_BUFFER_WITHOUT_EXTENSION those in Laravel/ run what needs no extension.

if (!extension_loaded('write_buffer') && (string) getenv('WRITE_BUFFER_WITHOUT_EXTENSION') === '') {
    fwrite(STDERR, "The write_buffer extension is not loaded: php -d extension=/path/libwrite_buffer.so …\n");
    exit(1);
}

spl_autoload_register(static function (string $class): void {
    $roots = [
        'WriteBuffer\\Tests\\' => [__DIR__],
        'WriteBuffer\\' => [dirname(__DIR__) . '/laravel/src', dirname(__DIR__) . '/laravel/src/polyfill'],
    ];
    foreach ($roots as $prefix => $directories) {
        if (!str_starts_with($class, $prefix)) {
            continue;
        }
        foreach ($directories as $directory) {
            $file = $directory . '/' . strtr(substr($class, strlen($prefix)), '\\', '/') . '.php';
            if (is_file($file)) {
                require $file;
                return;
            }
        }
    }
});

foreach (['DSN', 'SYNC', 'JOURNAL', 'MAX_SIZE', 'FLUSH_INTERVAL_MS', 'MAX_RETRIES'] as $name) {
    putenv("WRITE_BUFFER_$name");
    unset($_ENV["WRITE_BUFFER_$name"], $_SERVER["WRITE_BUFFER_$name"]);
}

if ((string) getenv('WRITE_BUFFER_TEST_DSN') === '') {
    $directory = sys_get_temp_dir() . '/write-buffer-tests-' . bin2hex(random_bytes(6));
    mkdir($directory, 0700);
    putenv("WRITE_BUFFER_TEST_DSN=sqlite://$directory/test.db");
    $owner = getmypid();
    register_shutdown_function(static function () use ($directory, $owner): void {
        if (getmypid() === $owner) {
            array_map('unlink', glob("$directory/*") ?: []);
            rmdir($directory);
        }
    });
}
