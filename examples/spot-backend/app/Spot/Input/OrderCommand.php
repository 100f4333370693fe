<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Orders\OrderType;
use App\Spot\Orders\Side;

/** What one entry of the input asks for. */
final class OrderCommand
{
    /**
     * @param int $userId   who asks; 0 where the input does not say it
     * @param int $price    in 0.1 USD
     * @param int $quantity in 1e-8: of a new order, or what is left of a reduced one
     */
    public function __construct(
        public readonly CommandAction $action,
        public readonly int $orderId,
        public readonly int $atMs,
        public readonly int $userId = 0,
        public readonly Side $side = Side::Buy,
        public readonly int $price = 0,
        public readonly int $quantity = 0,
        public readonly OrderType $type = OrderType::Limit,
        public readonly bool $ioc = false,
    ) {
    }
}
