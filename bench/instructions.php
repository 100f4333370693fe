<?php

declare(strict_types=1);

/*
 * Counts the instructions of a call to `add` with callgrind, and fails where one costs more than
 * instructions.json allows: what was counted when that was written, and a tenth.
 *
 *   php bench/instructions.php EXTENSION OUTPUT-DIRECTORY [update]
 *
 * Only what a call itself executes is counted, on its own thread: neither the loop in PHP nor the
 * writer's thread. Two runs of different length are subtracted, so that what comes once cancels out.
 */

const SHORT = 1_000;
const LONG = 3_000;
const MARGIN = 0.1;
const METHODS = [
    'addOrder, 9 columns' => 'write_buffer::php::write_buffer::add_order',
    'addTrade, 15 columns' => 'write_buffer::php::write_buffer::add_trade',
    'addBalanceUpdate, 2 deltas' => 'write_buffer::php::write_buffer::add_balance_update',
];

/** @return array<string, int> instructions of all calls, by method */
function counted(string $extension, string $file, string $journal, int $calls): array
{
    $directory = sys_get_temp_dir() . '/write-buffer-instructions-' . bin2hex(random_bytes(6));
    mkdir($directory, 0700);
    $command = [
        'valgrind', '--quiet', '--tool=callgrind', '--compress-strings=no', "--callgrind-out-file=$file",
        ...array_map(static fn (string $function): string => "--toggle-collect=$function", array_values(METHODS)),
        PHP_BINARY, '-n', '-d', "extension=$extension", __DIR__ . '/children/instructions.php', $journal, $directory, (string) $calls,
    ];
    $process = proc_open($command, [['file', '/dev/null', 'r'], ['pipe', 'w'], ['redirect', 1]], $pipes);
    $output = (string) stream_get_contents($pipes[1]);
    $status = proc_close($process);
    foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($directory, FilesystemIterator::SKIP_DOTS), RecursiveIteratorIterator::CHILD_FIRST) as $path => $entry) {
        $entry->isDir() ? rmdir($path) : unlink($path);
    }
    rmdir($directory);
    $status === 0 || fail("valgrind ended with $status: $output");

    // A function's block holds what it costs itself and, for each call that it makes, what that costs.
    $all = [];
    $method = null;
    foreach (file($file, FILE_IGNORE_NEW_LINES) ?: [] as $line) {
        if (str_starts_with($line, 'fn=')) {
            $method = array_search(substr($line, 3), METHODS, true) ?: null;
        } elseif ($method !== null && preg_match('/^[-+*\d]\S* (\d+)$/', $line, $found)) {
            $all[$method] = ($all[$method] ?? 0) + (int) $found[1];
        }
    }

    return $all;
}

function fail(string $message): never
{
    fwrite(STDERR, "instructions: $message\n");
    exit(1);
}

[, $extension, $out] = $argv;
$isUpdate = ($argv[3] ?? '') === 'update';
$noted = json_decode((string) file_get_contents(__DIR__ . '/instructions.json'), true, 512, JSON_THROW_ON_ERROR);
if (php_uname('m') !== $noted['machine']) {
    echo "instructions: NOT CHECKED: the bounds are those of {$noted['machine']}, and this is " . php_uname('m') . "\n";
    exit(0);
}
shell_exec('command -v valgrind') !== null || fail('valgrind is missing: scripts/setup.sh test installs it where there are Debian packages.');
$rustc = trim((string) shell_exec('rustc --version'));
is_dir($out) || mkdir($out, 0755, true);
$counts = [];
$slow = [];
foreach (['off', 'process'] as $journal) {
    $short = counted($extension, "$out/$journal-short.callgrind", $journal, SHORT);
    $long = counted($extension, "$out/$journal.callgrind", $journal, LONG);
    foreach (METHODS as $method => $function) {
        isset($short[$method], $long[$method]) || fail("$function was never seen in $extension: it has to be a release build that is not stripped (make build); if the function has another name now, bench/instructions.php has to know it.");
        $count = intdiv($long[$method] - $short[$method], LONG - SHORT);
        $before = $noted['instructions']["journal $journal"][$method] ?? 0;
        $counts["journal $journal"][$method] = $count;
        printf("instructions: %-26s  journal %-7s  %5d a call, %d when noted\n", $method, $journal, $count, $before);
        if ($count > $before * (1 + MARGIN)) {
            $slow[] = sprintf('%s with journal %s costs %d instructions a call; allowed are %d, a tenth over the %d that were noted.', $method, $journal, $count, $before * (1 + MARGIN), $before)
                . " `callgrind_annotate --inclusive=yes $out/$journal.callgrind` shows where.";
        } elseif ($count < $before * (1 - MARGIN)) {
            echo "instructions: that is a tenth less than noted: `make instructions UPDATE=1` keeps it\n";
        }
    }
}
if ($isUpdate) {
    file_put_contents(__DIR__ . '/instructions.json', json_encode(['machine' => php_uname('m'), 'rustc' => $rustc, 'instructions' => $counts], JSON_PRETTY_PRINT | JSON_THROW_ON_ERROR) . "\n");
    echo "instructions: noted in bench/instructions.json\n";
} elseif ($slow !== []) {
    $rustc === $noted['rustc'] || $slow[] = "They were noted with {$noted['rustc']}, and this is $rustc.";
    $slow[] = 'Where the cost is meant, `make instructions UPDATE=1` notes it in bench/instructions.json.';
    fail(implode("\ninstructions: ", $slow));
}
