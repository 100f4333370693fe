<?php

/*
 * WriteBuffer: where rows are written, and who waits for them.
 *
 * Null leaves a setting to the write_buffer.* INI settings, and then to the extension's default.
 */

return [

    // The buffer of WriteBuffer::buffer() and of WriteBufferInterface in the container.
    'default' => env('WRITE_BUFFER_NAME', 'default'),

    // Write at once through the application's own connection. Null: in the environment `testing`.
    'sync' => env('WRITE_BUFFER_SYNC'),

    // What all buffers have in common: `connection` of config/database.php (null: its default)
    // and any option of the extension. A `dsn` takes the connection's place; with `connection`
    // named beside it, table prefix and sticky reads still come from there.
    'defaults' => [
        'connection' => env('WRITE_BUFFER_CONNECTION'),
        'dsn' => env('WRITE_BUFFER_DSN'),
        'max_buffer_size' => env('WRITE_BUFFER_MAX_SIZE'),
        'flush_interval_ms' => env('WRITE_BUFFER_FLUSH_INTERVAL_MS'),
        'max_retries' => env('WRITE_BUFFER_MAX_RETRIES'),
        'journal' => env('WRITE_BUFFER_JOURNAL'),
        // Journals, refused rows, and rows that could not be written at the end: on a local disk.
        // A relative path is one of the application's directory.
        'journal_dir' => env('WRITE_BUFFER_JOURNAL_DIR', storage_path('write-buffer')),
    ],

    // Each buffer by name, over the defaults. Every table that is added to is declared;
    // a table prefix of the connection is put before the names by itself.
    'buffers' => [
        'default' => [
            'tables' => [
                // 'positions' => ['mode' => 'upsert', 'key' => 'id'],
                // 'accounts' => ['mode' => 'delta', 'key' => 'id', 'delta' => ['balance']],
            ],
        ],
    ],

    // How long each end waits, in ms, for rows to be committed. 0 does not wait, and reports
    // what went wrong in the background; null does nothing.
    'drain' => [
        'terminating' => 1_000,      // a request, after its response (Octane's, too); an artisan command
        'looping' => 0,              // each turn of a queue worker
        'job_processed' => 5_000,    // before the next job is taken
        'job_failed' => 5_000,       // also a job that threw and will be tried again
        'job_timed_out' => 1_000,    // in the signal handler, before SIGKILL
        'worker_stopping' => 5_000,
        'horizon' => 0,              // each turn of Horizon's supervisors
        'octane_request' => 0,
        'octane_task' => 0,
        'octane_tick' => 0,
        'octane_stopping' => 5_000,
    ],

    // For `write-buffer:doctor`: seconds between SIGTERM and SIGKILL (stopwaitsecs of supervisor,
    // TimeoutStopSec of systemd, docker stop -t, terminationGracePeriodSeconds).
    'stop_timeout' => env('WRITE_BUFFER_STOP_TIMEOUT'),

    // Where each process puts its figures for `write-buffer:status`; null: nowhere.
    'status' => [
        'path' => storage_path('framework/write-buffer'),
        'every_ms' => 1_000,
    ],

    // The text for Prometheus as a route, such as 'metrics/write-buffer'; null: no route.
    'metrics' => [
        'route' => env('WRITE_BUFFER_METRICS_ROUTE'),
        'middleware' => [],
    ],

    // The command-line tool (`make cli`), which replays and discards refused rows.
    'binary' => env('WRITE_BUFFER_BINARY', 'write-buffer'),

];
