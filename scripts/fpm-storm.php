#!/usr/bin/env php
<?php

// 50 php-fpm children under load, reloaded every 5 s, beside a database that restarts twice:
// each accepted group is there exactly once, no child hangs, none leaves a core.
//
//   WRITE_BUFFER_TEST_DSN=… WRITE_BUFFER_EXTENSION=… php scripts/fpm-storm.php [SECONDS] [CHILDREN]
//
// `make fpm-storm` sees to all of it. Exits 1 if anything is wrong; what is left is kept, and named.

declare(strict_types=1);

namespace WriteBuffer\Tests;

use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\FpmStorm;
use WriteBuffer\Tests\Support\PhpFpm;

spl_autoload_register(static function (string $class): void {
    require __DIR__ . '/../phpunit-tests/Support/' . substr($class, strlen('WriteBuffer\\Tests\\Support\\')) . '.php';
});

if (Database::dsn() === '' || (string) getenv('WRITE_BUFFER_EXTENSION') === '') {
    fwrite(STDERR, "fpm-storm: WRITE_BUFFER_TEST_DSN and WRITE_BUFFER_EXTENSION must be set\n");
    exit(2);
}
if (PhpFpm::missing() !== null) {
    fwrite(STDERR, 'fpm-storm: ' . PhpFpm::missing() . "\n");
    exit(2);
}
[$seconds, $children] = [max(1, (int) ($argv[1] ?? 60)), max(1, (int) ($argv[2] ?? 50))];
echo "fpm-storm: $children children, $seconds s\n";
['wrong' => $wrong, 'figures' => $figures] = (new FpmStorm($children, $seconds))->run();
foreach ($figures as $name => $value) {
    echo "fpm-storm: $name: $value\n";
}
foreach ($wrong as $what) {
    echo "fpm-storm: WRONG: $what\n";
}
echo $wrong === [] ? "fpm-storm: every accepted group is there once\n" : "fpm-storm: FAILED\n";
Database::drop('orders', 'order_transactions', 'spot_usd_accounts', 'spot_btc_accounts');
exit($wrong === [] ? 0 : 1);
