<?php

declare(strict_types=1);

namespace App\Spot;

/**
 * The market and its integer units.
 *
 * | quantity of            | unit            | scale |
 * |------------------------|-----------------|-------|
 * | price                  | 0.1 USD         | 1     |
 * | order and trade volume | 1e-8 BTC        | 8     |
 * | price x volume         | 1e-9 USD        | 9     |
 * | account amounts, fees  | 1e-10 USD / BTC | 10    |
 *
 * The largest order of the sample is worth 10.2 million USD, which is 1.0e17 account units;
 * 2^63 is 9.2e18. Whatever does not fit is refused or throws, it never becomes a float.
 */
final class Market
{
    public const PRICE_SCALE = 1;
    public const QUANTITY_SCALE = 8;
    public const AMOUNT_SCALE = 10;

    /** Account units in one unit of price x volume (1e-9) and in one of volume (1e-8). */
    public const AMOUNT_PER_NOTIONAL = 10;
    public const AMOUNT_PER_QUANTITY = 100;

    /** @param array<string, int> $deposits what each account starts with, by currency, in 1e-10 */
    public function __construct(
        public readonly string $currency,
        public readonly string $coin,
        public readonly int $users,
        public readonly array $deposits,
        public readonly int $openedAtMs,
    ) {
    }

    /** @param array{currency: string, coin: string, users: int, deposit: array<string, string>, opened_at_ms: int} $config */
    public static function fromConfig(array $config): self
    {
        return new self(
            $config['currency'],
            $config['coin'],
            $config['users'],
            array_map(static fn (string $amount): int => Decimal::parse($amount, self::AMOUNT_SCALE), $config['deposit']),
            $config['opened_at_ms'],
        );
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

    /** The table that the extension's template `spot_{currency}_accounts` names. */
    public function accountTable(string $currency): string
    {
        return "spot_{$currency}_accounts";
    }

    /** @return list<string> */
    public function accountTables(): array
    {
        return array_map($this->accountTable(...), $this->currencies());
    }
}
