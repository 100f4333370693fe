<?php

declare(strict_types=1);

$dsn = (string) getenv('WRITE_BUFFER_TEST_DSN');
$isSqlite = str_starts_with($dsn, 'sqlite:');

return [
    'default' => 'main',
    'connections' => [
        // The database under test, as an application would describe it.
        'main' => $isSqlite
            ? ['driver' => 'sqlite', 'database' => substr($dsn, strlen('sqlite://')), 'prefix' => '']
            : ['driver' => 'mysql', 'url' => $dsn, 'charset' => 'utf8mb4', 'collation' => 'utf8mb4_unicode_ci', 'prefix' => '', 'strict' => true],
        'queue' => ['driver' => 'sqlite', 'database' => database_path('queue.sqlite'), 'prefix' => ''],
    ],
    'migrations' => 'migrations',
    'redis' => ['client' => 'phpredis'],
];
