<?php

declare(strict_types=1);

namespace App\Spot\Storage;

use App\Spot\Progress;
use Illuminate\Database\Connection;
use PDO;
use PDOStatement;
use WriteBuffer;

/** Writes through the write buffer, and through nothing else. */
final class BufferStore implements SpotStore
{
    private ?PDOStatement $statusQuery = null;

    public function __construct(
        private readonly WriteBuffer $buffer,
        private readonly Connection $database,
    ) {
    }

    public function group(callable $write): void
    {
        $this->buffer->transaction($write);
    }

    public function order(int $id, array $columns): void
    {
        $this->buffer->addOrder($id, $columns);
    }

    public function trade(array $columns): void
    {
        $this->buffer->addTrade($columns);
    }

    public function balance(int $userId, string $currency, array $changes): void
    {
        $this->buffer->addBalanceUpdate($userId, $currency, $changes);
    }

    public function progress(Progress $progress, int $atMs): void
    {
        $this->buffer->add('spot_progress', $progress->row($atMs));
    }

    public function pendingOrder(int $id): ?array
    {
        return $this->buffer->find('orders', $id);
    }

    public function orderStatus(int $id): ?string
    {
        // The buffer first: what is committed between the two look-ups is then found by the
        // second. The other way round it would be missed by both.
        $pending = $this->buffer->find('orders', $id);

        if (isset($pending['status'])) {
            return (string) $pending['status'];
        }

        $this->statusQuery ??= $this->database->getPdo()->prepare('SELECT status FROM orders WHERE id = ?');
        $this->statusQuery->bindValue(1, $id, PDO::PARAM_INT);
        $this->statusQuery->execute();
        $status = $this->statusQuery->fetchColumn();
        $this->statusQuery->closeCursor();

        return is_string($status) ? $status : null;
    }
}
