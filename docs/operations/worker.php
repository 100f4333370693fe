<?php

/*
 * A worker as systemd, Supervisor and Kubernetes want it: it sits out what passes, waits where a person is needed, ends
 * on SIGTERM within drain_timeout_ms, and its exit code says whether everything is in the database.
 *
 * WRITE_BUFFER_DSN and WRITE_BUFFER_JOURNAL_DIR say where. WRITE_BUFFER_METRICS_FILE, if there is one, gets the figures
 * for Prometheus; the library write-buffer/laravel makes the text, and needs no Laravel for it.
 */

declare(strict_types=1);

use WriteBuffer\Exception\BufferFullException;
use WriteBuffer\Exception\ClosedException;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Exception\ConnectionException;
use WriteBuffer\Exception\JournalException;
use WriteBuffer\Laravel\Metrics\PrometheusText;
use WriteBuffer\Laravel\Status\ProcessStatus;

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

$metrics = (string) getenv('WRITE_BUFFER_METRICS_FILE');
if ($metrics !== '') {
    require __DIR__ . '/vendor/autoload.php';
}
$published = 0;
$publish = static function () use ($buffer, $metrics, &$published): void {
    if ($metrics === '' || time() < $published + 5) {
        return;
    }
    $published = time();
    // Replaced as a whole: whoever reads it finds the old one or the new one.
    $text = PrometheusText::of([ProcessStatus::own(['spot' => $buffer->getStats()])]);
    if (@file_put_contents("$metrics.new", $text) !== strlen($text) || !@rename("$metrics.new", $metrics)) {
        error_log("$metrics cannot be written; the figures there are old.");
    }
};

// Nothing of a row for which one of these is thrown was accepted, and so the same row is added until it is. All but one
// pass when the database, the table or the disk is mended. ClosedException does not: the buffer has halted. Then this
// process keeps its journal's lock, so that no other one takes the rows over before somebody has looked.
$accept = static function (string $table, array $row) use ($buffer, $publish, &$stop): bool {
    for ($said = null; !$stop; usleep(500_000)) {
        try {
            $buffer->add($table, $row);
            return true;
        } catch (BufferFullException | ClosedException | ConfigurationException | ConnectionException | JournalException $error) {
            if ($error::class !== $said) {
                $said = $error::class;
                error_log("A row waits to be accepted: {$error->getMessage()}");
            }
        }
        $publish();
    }
    return false;
};

$failures = 0;
for ($id = 1; !$stop; $id++) {
    // Here is your work: take a message, decide, add what changes. Acknowledge no message whose row was not accepted.
    if (!$accept('positions', ['id' => $id, 'size' => '0.25'])) {
        error_log("The row of id $id was not accepted.");
    }
    usleep(500);
    $buffer->dispatch();
    $publish();
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
if ($metrics !== '' && $result->isSuccess()) {
    @unlink($metrics);
}
exit($result->isSuccess() ? 0 : 1);
