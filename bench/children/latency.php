<?php

declare(strict_types=1);

/*
 * Offers matches at a fixed rate and prints, as JSON, how long after it was due each was committed,
 * in ms. A match that is offered late, because the one before took long, counts from when it was
 * due: what waits in line is not left out ("coordinated omission").
 *
 * Given as JSON: journal, rate, seconds.
 */

use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Flow\Synthetic;
use WriteBuffer\Bench\Peers\Extension;

require __DIR__ . '/../autoload.php';

$spec = json_decode($argv[1], true, 512, JSON_THROW_ON_ERROR);
$flow = new Synthetic($spec['rate'] * $spec['seconds']);
Database::prepare($flow);
$groups = iterator_to_array($flow->groups(), false);
// As a user would who wants rows to be committed soon.
$peer = new Extension($spec['journal'], ['max_buffer_size' => 1, 'flush_interval_ms' => 1]);
$peer->prepare($flow);
$buffer = $peer->buffer();
gc_collect_cycles();
gc_disable();

$count = count($groups);
$everyNs = intdiv(1_000_000_000, $spec['rate']);
$latencies = [];
$lasts = [];
$committed = 0;
$begun = hrtime(true) + 1_000_000;
for ($offered = 0; $committed < $count;) {
    $now = hrtime(true);
    if ($offered < $count && $now >= $begun + $offered * $everyNs) {
        $peer->apply($groups[$offered]);
        $lasts[$offered++] = $buffer->sequence();
        $now = hrtime(true);
    } elseif ($offered === $count || $now < $begun + $offered * $everyNs - 50_000) {
        usleep(20);
    }
    $through = $buffer->committedSequence();
    while ($committed < $offered && $lasts[$committed] <= $through) {
        $latencies[] = (hrtime(true) - $begun - $committed++ * $everyNs) / 1e6;
    }
}
$took = (hrtime(true) - $begun) / 1e9;
$peer->finish();
$peer->facts();
// The first tenth warms connections, caches and the server up.
$latencies = array_slice($latencies, intdiv($count, 10));
sort($latencies);
$at = static fn (float $share): float => $latencies[(int) min(count($latencies) - 1, floor($share * count($latencies)))];
echo json_encode([
    'p50' => $at(0.5), 'p95' => $at(0.95), 'p99' => $at(0.99), 'p99.9' => $at(0.999), 'max' => $at(1),
    'rate' => $count / $took,
], JSON_THROW_ON_ERROR), "\n";
