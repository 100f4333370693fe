<?php

declare(strict_types=1);

namespace App\Spot\Worker;

use Closure;
use Illuminate\Database\Connection;
use Illuminate\Database\DetectsLostConnections;
use PDOException;

/** The buffer outlasts a database that is away; so must the worker's own reading and reserving. */
final class Outages
{
    use DetectsLostConnections;

    /** How long a database that is away is waited for. */
    public const OUTAGE_MAX_S = 120;

    private const RETRY_AFTER_MS = 100;

    /**
     * @template T
     * @param Closure(): T $do what may be done again, also if it was done and only the answer was lost
     * @param Closure(): void|null $forget what was prepared on the lost connection
     * @return T
     */
    public function outlast(Connection $database, Closure $do, ?Closure $forget = null): mixed
    {
        $until = hrtime(true) + self::OUTAGE_MAX_S * 1_000_000_000;

        while (true) {
            try {
                return $do();
            } catch (PDOException $error) {
                if (!$this->causedByLostConnection($error) || hrtime(true) > $until) {
                    throw $error;
                }
            }

            $forget === null || $forget();
            $database->disconnect();
            usleep(self::RETRY_AFTER_MS * 1_000);

            try {
                $database->reconnect();
            } catch (PDOException) {
                // Still away: the next attempt says so.
            }
        }
    }
}
