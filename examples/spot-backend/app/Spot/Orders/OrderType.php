<?php

declare(strict_types=1);

namespace App\Spot\Orders;

/** The `type` of an order. */
enum OrderType: string
{
    case Limit = 'limit';
    case Market = 'market';
}
