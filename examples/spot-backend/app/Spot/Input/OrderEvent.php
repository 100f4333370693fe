<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Side;

/** One line of the input. */
final class OrderEvent
{
    /**
     * @param int $price  in 0.1 USD
     * @param int $volume in 1e-8: of a new order, or what is left of a changed one
     */
    public function __construct(
        public readonly int $orderId,
        public readonly int $atMs,
        public readonly int $price,
        public readonly int $volume,
        public readonly EventAction $action,
        public readonly Side $side,
    ) {
    }
}
