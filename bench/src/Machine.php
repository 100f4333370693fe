<?php

declare(strict_types=1);

namespace WriteBuffer\Bench;

/** On what was measured. */
final class Machine
{
    /** Whether what the database has committed survives a power cut, binary log and all. */
    public static function isDurable(): bool
    {
        $variables = Database::pdo()->query('SELECT @@innodb_flush_log_at_trx_commit, @@sync_binlog, @@log_bin')->fetch(\PDO::FETCH_NUM);

        return array_map('intval', (array) $variables) === [1, 1, 1];
    }

    /** @return array<string, string> */
    public static function facts(): array
    {
        $pdo = Database::pdo();
        $variable = static fn (string $name): string => (string) $pdo->query("SELECT @@$name")->fetchColumn();
        $cpus = (string) @file_get_contents('/proc/cpuinfo');
        preg_match('/^model name\s*:\s*(.+)$/m', $cpus, $model);

        return [
            'processors' => substr_count($cpus, "\nprocessor") + (int) str_starts_with($cpus, 'processor') . ' × ' . ($model[1] ?? php_uname('m')),
            'journals on' => trim((string) shell_exec('stat -f -c %T ' . escapeshellarg(sys_get_temp_dir()))),
            'kernel' => php_uname('s') . ' ' . php_uname('r'),
            'PHP' => PHP_VERSION,
            'database' => sprintf(
                '%s, innodb_flush_log_at_trx_commit=%s, sync_binlog=%s, buffer pool of %d MiB',
                $variable('version'),
                $variable('innodb_flush_log_at_trx_commit'),
                $variable('sync_binlog'),
                $variable('innodb_buffer_pool_size') >> 20,
            ),
        ];
    }
}
