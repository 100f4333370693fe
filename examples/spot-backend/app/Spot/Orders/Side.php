<?php

declare(strict_types=1);

namespace App\Spot\Orders;

/** The `trade_type` of an order. */
enum Side: string
{
    case Buy = 'buy';
    case Sell = 'sell';
}
