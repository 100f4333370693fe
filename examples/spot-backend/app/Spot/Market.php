<?php

declare(strict_types=1);

namespace App\Spot;

use App\Spot\Orders\Side;

/**
 * One market and its integer units.
 *
 * | quantity of            | unit            | scale |
 * |------------------------|-----------------|-------|
 * | price                  | 0.1 USD         | 1     |
 * | order and trade volume | 1e-8 BTC        | 8     |
 * | price x volume         | 1e-9 USD        | 9     |
 * | account amounts, fees  | 1e-10 USD / BTC | 10    |
 *
 * Every market has these scales, whatever its currency and coin are. The largest order of the
 * sample is worth 10.2 million USD, which is 1.0e17 account units; 2^63 is 9.2e18. Whatever
 * does not fit is refused or throws, it never becomes a float.
 */
final class Market
{
    public const PRICE_SCALE = 1;
    public const QUANTITY_SCALE = 8;
    public const AMOUNT_SCALE = 10;

    /** Account units in one unit of price x volume (1e-9) and in one of volume (1e-8). */
    public const AMOUNT_PER_NOTIONAL = 10;
    public const AMOUNT_PER_QUANTITY = 100;

    /** An order id of the exchange's own ends in its market's number: id % 64. */
    public const NUMBERS = 64;

    public function __construct(
        public readonly int $number,
        public readonly string $currency,
        public readonly string $coin,
    ) {
    }

    public function key(): string
    {
        return "{$this->currency}_{$this->coin}";
    }

    /** @return list<string> */
    public function currencies(): array
    {
        return [$this->currency, $this->coin];
    }

    /** What an order of that side locks and pays with. */
    public function paidIn(Side $side): string
    {
        return $side === Side::Buy ? $this->currency : $this->coin;
    }

    /** Two markets cannot give out the same id, so no order of one overwrites an order of the other. */
    public function owns(int $orderId): bool
    {
        return $orderId > 0 && $orderId % self::NUMBERS === $this->number;
    }
}
