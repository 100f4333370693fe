<?php

declare(strict_types=1);

/* Takes matches from the Redis list and writes them, 500 at a time, until it finds the end. */

use WriteBuffer\Bench\Flow\Flows;
use WriteBuffer\Bench\Peers\BulkCase;
use WriteBuffer\Bench\Peers\RedisList;

require __DIR__ . '/../autoload.php';

$redis = RedisList::connect();
$writer = new BulkCase(500);
$writer->prepare(Flows::of(json_decode($argv[1], true, 512, JSON_THROW_ON_ERROR)));
echo "ready\n";

for (;;) {
    $taken = $redis->multi()->lRange(RedisList::KEY, 0, 499)->lTrim(RedisList::KEY, 500, -1)->exec()[0];
    foreach ($taken as $entry) {
        if ($entry === 'end') {
            $writer->finish();
            exit(0);
        }
        $writer->apply(json_decode($entry, true, 512, JSON_THROW_ON_ERROR));
    }
    if ($taken === []) {
        usleep(1_000);
    }
}
