#!/usr/bin/env php
<?php

// Kills writers (and every third time the process that recovers, too) at random instants, on
// one journal, and audits the database after each recovery by what the writers noted outside.
//
//   WRITE_BUFFER_TEST_DSN=… WRITE_BUFFER_EXTENSION=…/libwrite_buffer.so php scripts/crash-test.php [RUNS] [SEED]
//
// MODE=process|interval|always chooses the journal's mode. Its last line is "N passed, M
// failed"; exits 1 if any failed. What a failed run leaves is kept, and named.

declare(strict_types=1);

namespace WriteBuffer\Tests;

use WriteBuffer\Tests\Support\CrashScenario;
use WriteBuffer\Tests\Support\Database;

spl_autoload_register(static function (string $class): void {
    require __DIR__ . '/../phpunit-tests/Support/' . substr($class, strlen('WriteBuffer\\Tests\\Support\\')) . '.php';
});

$runs = max(1, (int) ($argv[1] ?? 50));
$seed = (int) ($argv[2] ?? random_int(1, PHP_INT_MAX >> 32));
if (Database::dsn() === '' || (string) getenv('WRITE_BUFFER_EXTENSION') === '') {
    fwrite(STDERR, "crash-test: WRITE_BUFFER_TEST_DSN and WRITE_BUFFER_EXTENSION must be set\n");
    exit(2);
}
mt_srand($seed);
$mode = getenv('MODE') ?: 'process';
$start = hrtime(true);
$directory = sys_get_temp_dir() . '/write-buffer-crash-' . bin2hex(random_bytes(6));
echo "crash-test: $runs runs, seed $seed, journal $mode\n";

$scenario = new CrashScenario($directory, $mode);
[$passed, $failed, $kills, $recoverersKilled, $groups] = [0, 0, 0, 0, 0];
for ($run = 1; $run <= $runs; $run++) {
    $writers = [];
    for ($count = mt_rand(1, 4) === 1 ? 3 : 1; $count > 0; $count--) {
        $writers[] = $scenario->writer([0, 20, 200, 2_000][mt_rand(0, 3)]);
    }
    $wrong = [];
    try {
        // One in eight dies before it may have opened its journal.
        foreach (mt_rand(1, 8) === 1 ? [] : $writers as $writer) {
            $writer->waitFor('ready');
        }
        usleep(mt_rand(0, mt_rand(1, 2) === 1 ? 3_000 : 80_000));
        foreach ($writers as $writer) {
            $writer->kill(SIGKILL);
        }
        foreach ($writers as $writer) {
            $writer->wait(10);
            $kills += (int) ($writer->signal === SIGKILL);
        }
        if (mt_rand(1, 3) === 1) {
            $recoverer = $scenario->recoverer()->waitFor('ready');
            usleep(mt_rand(0, 20_000));
            $recoverer->kill(SIGKILL)->wait(10);
            $kills++;
            $recoverersKilled++;
        }
        $scenario->recover();
        $wrong = $scenario->audit();
        if ($scenario->journals() !== []) {
            $wrong[] = 'left in the journal: ' . implode(', ', $scenario->journals());
        }
        // A process that dies between the removal of a journal and that of its checkpoint
        // leaves the checkpoint: it does no harm.
        if ($scenario::checkpoints() > $recoverersKilled) {
            $wrong[] = $scenario::checkpoints() . ' checkpoints are left';
        }
    } catch (\RuntimeException $error) {
        $wrong = [$error->getMessage()];
    }
    if ($wrong === []) {
        $passed++;
        continue;
    }
    $failed++;
    $groups += $scenario->acknowledged();
    echo "crash-test: run $run of seed $seed FAILED: ", implode('; ', $wrong), "\n";
    if (is_dir($directory)) {
        echo "crash-test: kept: $directory\n";
    }
    // What is wrong now stays wrong: the next run begins afresh.
    $directory = dirname($directory) . '/write-buffer-crash-' . bin2hex(random_bytes(6));
    $scenario = new CrashScenario($directory, $mode);
    $recoverersKilled = 0;
}
$groups += $scenario->acknowledged();
$scenario->remove();
Database::drop('orders', 'order_transactions', 'spot_usd_accounts', 'spot_btc_accounts');
printf("crash-test: %d processes killed, %d groups accepted, %.1f s\n", $kills, $groups, (hrtime(true) - $start) / 1e9);
echo "$passed passed, $failed failed\n";
exit($failed === 0 ? 0 : 1);
