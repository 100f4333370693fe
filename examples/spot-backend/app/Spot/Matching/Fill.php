<?php

declare(strict_types=1);

namespace App\Spot\Matching;

use App\Spot\Orders\Order;

/** The next match of a taker: at the maker's price, in 0.1 USD, over a quantity in 1e-8. */
final class Fill
{
    public function __construct(
        public readonly Order $maker,
        public readonly int $price,
        public readonly int $quantity,
    ) {
    }
}
