<?php

declare(strict_types=1);

/*
 * A buffer that has written one row and then has nothing to do for some `seconds`: how often its
 * threads woke up, and the CPU time they took.
 */

use WriteBuffer\Bench\Database;

require __DIR__ . '/../autoload.php';

$spec = json_decode($argv[1], true, 512, JSON_THROW_ON_ERROR);
$switches = static function (): int {
    $all = 0;
    foreach (glob('/proc/self/task/*/status') ?: [] as $file) {
        if (basename(dirname($file)) !== (string) getmypid()) {
            preg_match_all('/^(?:non)?voluntary_ctxt_switches:\s+(\d+)/m', (string) file_get_contents($file), $found);
            $all += array_sum($found[1]);
        }
    }

    return $all;
};
$cpu = static fn (): float => (static fn (array $u): float => ($u['ru_utime.tv_sec'] + $u['ru_stime.tv_sec']) * 1e3 + ($u['ru_utime.tv_usec'] + $u['ru_stime.tv_usec']) / 1e3)(getrusage());

$begun = hrtime(true);
$buffer = new WriteBuffer(100, 500, 3, ['dsn' => Database::dsn()]);
$buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
$first = (hrtime(true) - $begun) / 1e3;
$buffer->flush();
// Until the writer's helper thread has gone: what ends takes its count along.
usleep(500_000);
[$switchesBefore, $cpuBefore] = [$switches(), $cpu()];
sleep($spec['seconds']);
echo json_encode([
    'wakeups' => ($switches() - $switchesBefore) / $spec['seconds'],
    'cpu_ms' => ($cpu() - $cpuBefore) / $spec['seconds'],
    'first_us' => $first,
], JSON_THROW_ON_ERROR), "\n";
