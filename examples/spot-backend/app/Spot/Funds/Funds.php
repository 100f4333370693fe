<?php

declare(strict_types=1);

namespace App\Spot\Funds;

use App\Spot\Matching\OrderBook;
use App\Spot\Orders\Order;

/**
 * What users may still lock.
 *
 * Locking is the one thing that needs to know a balance. Everything else, also what locked
 * funds become in a match, only adds to accounts, and additions commute: any number of markets
 * may make them at once.
 */
interface Funds
{
    /** Whether the user can pay with, and receive, what the market trades. */
    public function hasAccounts(int $userId): bool;

    /** Locks what the order needs, all or nothing; a market buy is given its budget by that. */
    public function lock(Order $order, OrderBook $book): Lock;

    /** @param int $amount in 1e-10, that a step adds to what is available */
    public function credit(int $userId, string $currency, int $amount): void;
}
