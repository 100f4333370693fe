<?php

declare(strict_types=1);

use Illuminate\Database\Connection;
use Illuminate\Database\Migrations\Migration;
use WriteBuffer\Laravel\BufferSettings;
use WriteBuffer\Laravel\Database\CheckpointTable;

// The table is the extension's own, in the database of each buffer: its name has no prefix.
return new class () extends Migration {
    public function up(): void
    {
        foreach ($this->connections() as $connection) {
            CheckpointTable::create($connection);
        }
    }

    public function down(): void
    {
        foreach ($this->connections() as $connection) {
            CheckpointTable::drop($connection);
        }
    }

    /** @return array<string, Connection> */
    private function connections(): array
    {
        $connections = [];
        foreach (BufferSettings::names(app('config')) as $name) {
            $connection = app('db')->connection(BufferSettings::of($name, app('config'))->connectionName());
            // For another driver there is nothing to make; first use and the doctor say what is wrong.
            if (in_array($connection->getDriverName(), ['mysql', 'mariadb', 'sqlite'], true)) {
                $connections[(string) $connection->getName()] = $connection;
            }
        }
        return $connections;
    }
};
