<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use Illuminate\Database\Capsule\Manager;
use Illuminate\Database\Connection;

/** Laravel's `upsert` and `insert`, in a transaction with attempts. */
final class LaravelUpsert extends Chunked
{
    private Connection $connection;

    protected function connect(): void
    {
        $manager = new Manager();
        $manager->addConnection([
            'driver' => 'mysql',
            'host' => getenv('DB_HOST'),
            'port' => getenv('DB_PORT'),
            'database' => getenv('DB_DATABASE'),
            'username' => getenv('DB_USERNAME'),
            'password' => getenv('DB_PASSWORD'),
            'charset' => 'utf8mb4',
            'collation' => 'utf8mb4_unicode_ci',
            'strict' => true,
        ]);
        $this->connection = $manager->getConnection();
    }

    protected function write(array $new, array $old, array $changed, array $trades, array $accounts): void
    {
        $this->connection->transaction(function () use ($new, $old, $changed, $trades, $accounts): void {
            $new === [] || $this->connection->table('orders')->insert($new);
            $old === [] || $this->connection->table('orders')->upsert($old, ['id'], $changed);
            $this->connection->table('order_transactions')->insert($trades);
            foreach ($accounts as $table => $rows) {
                $this->connection->table($table)->upsert($rows, ['id'], array_keys(array_diff_key($rows[0], ['id' => true])));
            }
        }, 5);
    }
}
