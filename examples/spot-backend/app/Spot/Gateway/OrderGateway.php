<?php

declare(strict_types=1);

namespace App\Spot\Gateway;

use App\Spot\Market;

/** Takes a request of a user to its market. */
interface OrderGateway
{
    /**
     * @param array<string, mixed> $fields of StreamEntry
     */
    public function submit(Market $market, array $fields): Receipt;
}
