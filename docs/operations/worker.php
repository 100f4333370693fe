<?php

/*
 * A worker as systemd, Supervisor and Kubernetes want it: it ends on SIGTERM, within drain_timeout_ms, and its
 * exit code says whether everything is in the database. WRITE_BUFFER_DSN and WRITE_BUFFER_JOURNAL_DIR say where.
 */

declare(strict_types=1);

$stop = false;
pcntl_async_signals(true);
foreach ([SIGTERM, SIGINT, SIGQUIT] as $signal) {
    pcntl_signal($signal, static function () use (&$stop): void {
        $stop = true;
    });
}

$buffer = WriteBuffer::open('spot', [
    'tables' => ['positions' => ['mode' => 'upsert', 'key' => 'id']],
    'journal' => 'process',
    'journal_dir' => (string) getenv('WRITE_BUFFER_JOURNAL_DIR'),
    'drain_timeout_ms' => 20_000,
    'on_quarantine' => static function (array $group): void {
        error_log("Rows $group[first] to $group[last] are in quarantine: $group[reason]");
    },
]);

$failures = 0;
for ($id = 1; !$stop; $id++) {
    // Here is your work: take a message, decide, add what changes.
    $buffer->add('positions', ['id' => $id, 'size' => '0.25']);
    usleep(500);
    $buffer->dispatch();
    if ($id % 1_000 === 0) {
        $stats = $buffer->getStats();
        if ($stats['failures'] > $failures) {
            $failures = $stats['failures'];
            error_log("{$stats['pending']['rows']} rows wait: {$stats['last_error']}");
        }
    }
}

$result = $buffer->close();
array_map(error_log(...), $result->getErrors());
error_log("Ended: {$buffer->sequence()} rows accepted, {$result->getPending()} not in the database yet.");
exit($result->isSuccess() ? 0 : 1);
