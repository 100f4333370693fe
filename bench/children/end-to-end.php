<?php

declare(strict_types=1);

/*
 * Brings a flow into the database through one peer, and prints as JSON how long that took.
 * Given as JSON: peer, what that peer needs, flow, and take: how many of its groups, if not all.
 */

use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Flow\Flows;
use WriteBuffer\Bench\Peers\Peers;

require __DIR__ . '/../autoload.php';

$spec = json_decode($argv[1], true, 512, JSON_THROW_ON_ERROR);
$flow = Flows::of($spec['flow']);
Database::prepare($flow);
$groups = $spec['peer'] === 'ceiling' ? [] : array_slice(iterator_to_array($flow->groups(), false), 0, $spec['take'] ?? null);
$peer = Peers::of($spec);
$peer->prepare($flow);
gc_collect_cycles();
gc_disable();

$cpu = static function (): float {
    $usage = getrusage();

    return $usage['ru_utime.tv_sec'] + $usage['ru_stime.tv_sec'] + ($usage['ru_utime.tv_usec'] + $usage['ru_stime.tv_usec']) / 1e6;
};
$cpuBefore = $cpu();
$begun = hrtime(true);
foreach ($groups as $group) {
    $peer->apply($group);
}
$applied = hrtime(true);
$peer->finish();
$finished = hrtime(true);
$used = $cpu() - $cpuBefore;

echo json_encode([
    'groups' => isset($spec['take']) ? count($groups) : $flow->size(),
    'matches' => isset($spec['take']) ? count(array_filter($groups, static fn (array $group): bool => in_array('trade', array_column($group, 0), true))) : $flow->matches(),
    'seconds' => ($finished - $begun) / 1e9,
    'applying_seconds' => ($applied - $begun) / 1e9,
    'cpu_seconds' => $used,
    'fingerprint' => Database::fingerprint(),
    'facts' => $peer->facts(),
], JSON_THROW_ON_ERROR), "\n";
