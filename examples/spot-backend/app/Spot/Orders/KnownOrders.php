<?php

declare(strict_types=1);

namespace App\Spot\Orders;

/** Which order ids were used before, by orders that were accepted or refused. */
interface KnownOrders
{
    public function isKnown(int $orderId): bool;

    public function remember(int $orderId): void;
}
