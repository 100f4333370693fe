<?php

declare(strict_types=1);

namespace App\Spot\Storage;

use App\Spot\Progress;

/** Where the exchange's state goes: the write buffer, or the memory of the audit's replay. */
interface SpotStore
{
    /** Everything written in the callback becomes visible together or not at all. */
    public function group(callable $write): void;

    /** @param array<string, int|string|bool|null> $columns all of them for a new order, else those that change */
    public function order(int $id, array $columns): void;

    /** @param array<string, int|string> $columns */
    public function trade(array $columns): void;

    /** @param array<string, int|string> $changes amounts are added to what is there; `updated_at` replaces */
    public function balance(int $userId, string $currency, array $changes): void;

    public function progress(Progress $progress, int $atMs): void;

    /**
     * Columns of the order that are written but not yet committed; null when there are none.
     *
     * @return array<string, mixed>|null
     */
    public function pendingOrder(int $id): ?array;

    /** Status of an order, whether pending or committed; null when there is no such order. */
    public function orderStatus(int $id): ?string;
}
