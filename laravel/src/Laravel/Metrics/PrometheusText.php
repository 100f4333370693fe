<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Metrics;

use WriteBuffer\Laravel\Status\ProcessStatus;

/**
 * Figures of processes in Prometheus's text format 0.0.4. Each series has the pid as a
 * label: counters of processes that end must not make a sum that falls.
 */
final class PrometheusText
{
    public const CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

    /** Name without its prefix, type, help. */
    private const METRICS = [
        ['rows_accepted_total', 'counter', 'Rows added, by declared table.'],
        ['rows_committed_total', 'counter', 'Rows added that are committed, by declared table.'],
        ['rows_written_total', 'counter', 'Rows written after merging, by declared table.'],
        ['rows_pending', 'gauge', 'Rows added and not yet settled, by declared table.'],
        ['rows_quarantined_total', 'counter', 'Rows the database refused for good.'],
        ['quarantine_followers_total', 'counter', 'Groups in quarantine that were not refused, but stand behind others.'],
        ['quarantine_held_keys', 'gauge', 'Rows of the database that hold groups back.'],
        ['rows_discarded_total', 'counter', 'Rows dropped by clear().'],
        ['pending_bytes', 'gauge', 'Bytes of pending rows.'],
        ['oldest_pending_seconds', 'gauge', 'Age of the oldest pending row.'],
        ['commit_latency_seconds', 'gauge', 'From add() to the commit, of a sample, by quantile.'],
        ['batches_total', 'counter', 'Batches committed.'],
        ['retries_total', 'counter', 'Failed attempts, by the server\'s error number.'],
        ['reconnects_total', 'counter', 'Connections made after the first.'],
        ['failures_total', 'counter', 'Failures reported after max_retries.'],
        ['journal_bytes', 'gauge', 'Bytes of the journal on disk.'],
        ['connected', 'gauge', 'Whether the writer has a connection.'],
        ['halted', 'gauge', 'Whether the writer has halted on an error.'],
        ['recovering', 'gauge', 'Whether rows of dead writers are being taken over.'],
        ['published_timestamp_seconds', 'gauge', 'When the process last said these figures, in seconds since 1970.'],
    ];

    /** @param list<ProcessStatus> $processes */
    public static function of(array $processes): string
    {
        $samples = array_fill_keys(array_column(self::METRICS, 0), '');
        foreach ($processes as $process) {
            foreach ($process->buffers as $buffer => $stats) {
                $figures = [['published_timestamp_seconds', ['sapi' => $process->sapi], $process->at], ...self::samples($stats)];
                foreach ($figures as [$metric, $labels, $value]) {
                    $labels = ['buffer' => (string) $buffer, 'pid' => (string) $process->pid] + $labels;
                    $samples[$metric] .= "write_buffer_$metric{" . self::labels($labels) . '} ' . json_encode($value) . "\n";
                }
            }
        }
        $text = '';
        foreach (self::METRICS as [$metric, $type, $help]) {
            if ($samples[$metric] !== '') {
                $text .= "# HELP write_buffer_$metric $help\n# TYPE write_buffer_$metric $type\n$samples[$metric]";
            }
        }
        return $text;
    }

    /**
     * @param array<string, mixed> $stats of getStats()
     * @return iterable<array{string, array<string, string>, int|float}>
     */
    private static function samples(array $stats): iterable
    {
        foreach ($stats['tables'] ?? [] as $table => $rows) {
            foreach (['accepted' => '_total', 'committed' => '_total', 'written' => '_total', 'pending' => ''] as $what => $suffix) {
                yield ["rows_$what$suffix", ['table' => (string) $table], $rows[$what] ?? 0];
            }
        }
        yield ['rows_quarantined_total', [], $stats['quarantined'] ?? 0];
        yield ['quarantine_followers_total', [], $stats['quarantine']['followers'] ?? 0];
        yield ['quarantine_held_keys', [], $stats['quarantine']['held_keys'] ?? 0];
        yield ['rows_discarded_total', [], $stats['discarded'] ?? 0];
        yield ['pending_bytes', [], $stats['pending']['bytes'] ?? 0];
        yield ['oldest_pending_seconds', [], ($stats['pending']['oldest_ms'] ?? 0) / 1_000];
        foreach (['p50' => '0.5', 'p95' => '0.95', 'p99' => '0.99', 'max' => '1'] as $name => $quantile) {
            yield ['commit_latency_seconds', ['quantile' => $quantile], ($stats['latency_ms'][$name] ?? 0) / 1_000];
        }
        yield ['batches_total', [], $stats['batches']['count'] ?? 0];
        foreach ($stats['retries'] ?? [] as $code => $count) {
            yield ['retries_total', ['code' => (string) $code], $count];
        }
        yield ['reconnects_total', [], $stats['reconnects'] ?? 0];
        yield ['failures_total', [], $stats['failures'] ?? 0];
        yield ['journal_bytes', [], $stats['journal']['bytes'] ?? 0];
        yield ['connected', [], (int) ($stats['connected'] ?? false)];
        yield ['halted', [], (int) (($stats['halted'] ?? null) !== null)];
        yield ['recovering', [], (int) ($stats['journal']['recovering'] ?? false)];
    }

    /** @param array<string, string> $labels */
    private static function labels(array $labels): string
    {
        $pairs = [];
        foreach ($labels as $name => $value) {
            $pairs[] = "$name=\"" . strtr($value, ['\\' => '\\\\', '"' => '\\"', "\n" => '\\n']) . '"';
        }
        return implode(',', $pairs);
    }
}
