<?php

declare(strict_types=1);

namespace App\Spot\Storage;

use App\Spot\Progress;
use Closure;
use Illuminate\Database\Connection;
use Illuminate\Database\DetectsLostConnections;
use PDO;
use PDOException;
use PDOStatement;
use WriteBuffer;

/** Writes through the write buffer, and through nothing else. */
final class BufferStore implements SpotStore
{
    use DetectsLostConnections;

    /** How long a read waits for a database that is away. */
    private const OUTAGE_MAX_S = 120;

    private const RETRY_AFTER_MS = 100;

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

        $status = $this->throughOutages(fn (): mixed => $this->storedStatus($id));

        return is_string($status) ? $status : null;
    }

    private function storedStatus(int $id): mixed
    {
        $this->statusQuery ??= $this->database->getPdo()->prepare('SELECT status FROM orders WHERE id = ?');
        $this->statusQuery->bindValue(1, $id, PDO::PARAM_INT);
        $this->statusQuery->execute();
        $status = $this->statusQuery->fetchColumn();
        $this->statusQuery->closeCursor();

        return $status;
    }

    /**
     * The buffer outlasts a database that is away; so must the worker's own reading.
     *
     * @template T
     * @param Closure(): T $read
     * @return T
     */
    private function throughOutages(Closure $read): mixed
    {
        $until = hrtime(true) + self::OUTAGE_MAX_S * 1_000_000_000;

        while (true) {
            try {
                return $read();
            } catch (PDOException $error) {
                if (!$this->causedByLostConnection($error) || hrtime(true) > $until) {
                    throw $error;
                }
            }

            $this->statusQuery = null;
            $this->database->disconnect();
            usleep(self::RETRY_AFTER_MS * 1_000);

            try {
                $this->database->reconnect();
            } catch (PDOException) {
                // Still away: the next read says so.
            }
        }
    }
}
