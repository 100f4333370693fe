#!/usr/bin/env php
<?php

// Kills writers (and every third time the processes that recover, too) at each failpoint in
// turn and at random instants, on one journal, and audits database and quarantine after each
// recovery by what the writers noted outside.
//
//   WRITE_BUFFER_TEST_DSN=… WRITE_BUFFER_EXTENSION=…/libwrite_buffer.so php scripts/crash-test.php [KILLS] [SEED]
//
// The extension has the Cargo feature `failpoints`; `make crash-test` sees to all of it. A
// failpoint that never struck is a failure, once there were enough kills for all. The last line
// is "N passed, M failed"; exits 1 if any failed. What a failed round leaves is kept, and named.

declare(strict_types=1);

namespace WriteBuffer\Tests;

use RuntimeException;
use WriteBuffer\Tests\Support\CrashPlan;
use WriteBuffer\Tests\Support\CrashScenario;
use WriteBuffer\Tests\Support\Database;

spl_autoload_register(static function (string $class): void {
    require __DIR__ . '/../phpunit-tests/Support/' . substr($class, strlen('WriteBuffer\\Tests\\Support\\')) . '.php';
});

/** Writers at a time. */
const WRITERS = 4;
/** Rounds after which the tables begin anew: each audit looks at all groups. */
const ROUNDS = 10;
/** Kills for each failpoint from which on all must have struck. */
const ENOUGH = 3;

/** Kills four writers, perhaps three processes that recover, and recovers; says how many died. */
function round(CrashScenario $scenario, CrashPlan $plan, bool $killRecovery): int
{
    $kills = 0;
    $writers = [];
    for ($count = 0; $count < WRITERS; $count++) {
        [$point, $environment] = $plan->writer();
        // One that is killed at some instant has no bound, and would leave much to recover.
        $pauses = $point === CrashPlan::RANDOM ? [100, 200, 500, 2_000] : [0, 20, 200, 500];
        $writers[] = [$point, $scenario->writer($pauses[mt_rand(0, 3)], $environment)];
    }
    foreach ($writers as [$point, $writer]) {
        if ($point === CrashPlan::RANDOM) {
            // One in eight dies before it may have opened its journal.
            mt_rand(1, 8) === 1 ?: $writer->waitFor('ready');
            usleep(mt_rand(0, mt_rand(1, 2) === 1 ? 3_000 : 80_000));
            $writer->kill(SIGKILL);
        }
    }
    foreach ($writers as [$point, $writer]) {
        $kills += (int) $plan->ended($point, $writer->wait(60));
    }
    for ($count = 0; $killRecovery && $count < 3; $count++) {
        [$point, $environment] = $plan->recoverer();
        $recoverer = $scenario->recoverer($environment);
        if ($point === CrashPlan::RANDOM) {
            $recoverer->waitFor('ready');
            usleep(mt_rand(0, 20_000));
            $recoverer->kill(SIGKILL);
        }
        $kills += (int) $plan->ended($point, $recoverer->wait(60));
    }
    $scenario->recover();
    return $kills;
}

/** @return list<string> */
function wrong(CrashScenario $scenario): array
{
    $wrong = $scenario->audit();
    if ($scenario->journals() !== []) {
        $wrong[] = 'left in the journal: ' . implode(', ', $scenario->journals());
    }
    if ($scenario::checkpoints() > 0) {
        $wrong[] = $scenario::checkpoints() . ' checkpoints are left';
    }
    return $wrong;
}

function newScenario(): CrashScenario
{
    return new CrashScenario(sys_get_temp_dir() . '/write-buffer-crash-' . bin2hex(random_bytes(6)));
}

$wanted = max(1, (int) ($argv[1] ?? 300));
$seed = (int) ($argv[2] ?? random_int(1, PHP_INT_MAX >> 32));
if (Database::dsn() === '' || (string) getenv('WRITE_BUFFER_EXTENSION') === '') {
    fwrite(STDERR, "crash-test: WRITE_BUFFER_TEST_DSN and WRITE_BUFFER_EXTENSION must be set\n");
    exit(2);
}
CrashPlan::check();
mt_srand($seed);
$start = hrtime(true);
echo "crash-test: $wanted kills, seed $seed\n";

$plan = new CrashPlan();
$scenario = newScenario();
[$passed, $failed, $kills, $accepted, $refused] = [0, 0, 0, 0, 0];
for ($round = 1; $kills < $wanted; $round++) {
    try {
        $kills += round($scenario, $plan, $round % 3 === 0);
        $wrong = wrong($scenario);
    } catch (RuntimeException $error) {
        $wrong = [$error->getMessage()];
        // Rounds without a kill must have an end.
        $kills++;
    }
    if ($wrong === []) {
        $passed++;
    } else {
        $failed++;
        echo "crash-test: round $round of seed $seed FAILED: ", implode('; ', $wrong), "\ncrash-test: kept: $scenario->directory\n";
    }
    // What is wrong now stays wrong: the next round begins afresh.
    if ($wrong !== [] || $round % ROUNDS === 0 || $kills >= $wanted) {
        $accepted += $scenario->acknowledged();
        $refused += $scenario->refused();
        $wrong !== [] ?: $scenario->remove();
        $scenario = newScenario();
    }
}
$scenario->remove();
Database::drop('orders', 'order_transactions', 'spot_usd_accounts', 'spot_btc_accounts');
foreach ($plan->counts() as $point => [$turns, $struck]) {
    printf("crash-test: %-22s struck %3d of %3d times\n", $point, $struck, $turns);
    if ($struck === 0 && $wanted >= ENOUGH * count($plan->counts())) {
        echo "crash-test: $point never struck: FAILED\n";
        $failed++;
    }
}
printf(
    "crash-test: %d processes killed, %d groups accepted, %d refused, %.1f s\n",
    $kills,
    $accepted,
    $refused,
    (hrtime(true) - $start) / 1e9
);
echo "$passed passed, $failed failed\n";
exit($failed === 0 ? 0 : 1);
