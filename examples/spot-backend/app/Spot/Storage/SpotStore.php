<?php

declare(strict_types=1);

namespace App\Spot\Storage;

use App\Spot\Worker\Progress;
use Closure;

/** Where the exchange's state goes: the write buffer, or the memory of the audit's replay. */
interface SpotStore
{
    /**
     * One step: what the callback writes, and the progress, become visible together or not at
     * all. Without a callback an entry is consumed that has no effect.
     */
    public function step(Progress $progress, int $atMs, ?Closure $write = null): void;

    /** @param array<string, int|string|bool|null> $columns all of them for a new order, else those that change */
    public function order(int $id, array $columns): void;

    /** @param array<string, int|string> $columns */
    public function trade(array $columns): void;

    /** @param array<string, int|string> $changes amounts are added to what is there; `updated_at` replaces */
    public function balance(int $userId, string $currency, array $changes): void;

    /** @param array<string, int|string|null> $columns */
    public function refusal(array $columns): void;

    /**
     * Columns of the order that are written but not yet committed; null when there are none.
     *
     * @return array<string, mixed>|null
     */
    public function pendingOrder(int $id): ?array;

    /**
     * What is known of an order, pending columns before committed ones: status, user_id,
     * currency and coin; null when there is no such order.
     *
     * @return array<string, mixed>|null
     */
    public function knownOrder(int $id): ?array;
}
