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

    protected function write(): void
    {
        $this->connection->transaction(function (): void {
            $orders = array_values(array_intersect_key($this->books->orders, $this->orders));
            $this->connection->table('orders')->upsert($orders, ['id'], ['status', 'executed_quantity', 'executed_price', 'fee', 'updated_at']);
            $this->connection->table('order_transactions')->insert($this->trades);
            foreach ($this->accounts as $currency => $users) {
                $accounts = array_values(array_intersect_key($this->books->balances[$currency], $users));
                $this->connection->table("spot_{$currency}_accounts")->upsert($accounts, ['id'], ['balance', 'available_balance']);
            }
        }, 5);
    }
}
