<?php

declare(strict_types=1);

namespace App\Console\Commands;

use App\Spot\Exchange;
use Illuminate\Console\Command;
use Illuminate\Support\Facades\DB;
use PDO;
use PDOException;

final class MigrateAndSeed extends Command
{
    protected $signature = 'spot:migrate-and-seed {--fresh : Drop everything first}';

    protected $description = 'Create the tables of the spot exchange and open the accounts';

    public function handle(Exchange $exchange): int
    {
        /** @var array<string, mixed> $connection */
        $connection = config('database.connections.' . DB::getDefaultConnection());
        $fresh = (bool) $this->option('fresh');

        if ($connection['driver'] === 'sqlite') {
            $this->prepareSqlite((string) $connection['database'], $fresh);
            $this->call('migrate', ['--force' => true]);
        } else {
            $this->createDatabase($connection);
            // migrate:fresh leaves, from Laravel 11 on, tables that no migration made.
            $fresh && $this->call('db:wipe', ['--force' => true]);
            $this->call('migrate', ['--force' => true]);
        }

        if (DB::table($exchange->accountTables()[0])->exists()) {
            $this->line('The accounts are open already.');

            return self::SUCCESS;
        }

        DB::transaction(fn () => $this->call('db:seed', ['--force' => true]));
        $this->line("Opened accounts 1 to {$exchange->users} in " . implode(' and ', $exchange->currencies()) . '.');

        return self::SUCCESS;
    }

    /**
     * A fresh SQLite file is a new file: Laravel would only empty it, and the write-ahead log
     * of a killed process would come back to life beside it.
     */
    private function prepareSqlite(string $path, bool $fresh): void
    {
        if ($fresh) {
            DB::purge();

            foreach (['', '-wal', '-shm', '-journal'] as $suffix) {
                if (is_file($path . $suffix)) {
                    unlink($path . $suffix);
                }
            }
        }

        if (!is_file($path)) {
            touch($path);
        }

        // Stays with the file: the worker reads while the extension writes.
        DB::select('PRAGMA journal_mode = WAL');
    }

    /** @param array<string, mixed> $config */
    private function createDatabase(array $config): void
    {
        $socket = (string) ($config['unix_socket'] ?? '');
        $where = $socket === '' ? "host={$config['host']};port={$config['port']}" : "unix_socket={$socket}";

        try {
            $server = new PDO("mysql:{$where}", $config['username'], $config['password'], [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
            $server->exec('CREATE DATABASE IF NOT EXISTS `' . str_replace('`', '``', $config['database']) . '` CHARACTER SET utf8mb4');
        } catch (PDOException) {
            // Not allowed, or not reachable: the migration says what is wrong.
        }
    }
}
