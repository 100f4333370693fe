<?php

declare(strict_types=1);

namespace App\Spot;

use InvalidArgumentException;

/** The markets that there are, and the accounts that they share. */
final class Exchange
{
    /**
     * @param array<string, Market> $markets by their keys
     * @param array<string, int> $deposits what each account starts with, by currency, in 1e-10
     */
    private function __construct(
        public readonly array $markets,
        public readonly int $users,
        private readonly array $deposits,
        public readonly int $openedAtMs,
    ) {
    }

    /** @param array{markets: string, users: int, deposit: array<string, string>, opened_at_ms: int} $config */
    public static function fromConfig(array $config): self
    {
        $markets = [];

        foreach (explode(',', $config['markets']) as $number => $key) {
            if (preg_match('/^([a-z]{2,8})_([a-z]{2,8})$/D', trim($key), $part) !== 1 || $number >= Market::NUMBERS) {
                throw new InvalidArgumentException(
                    "SPOT_MARKETS has to be at most 64 markets such as usd_btc, comma-separated, not '{$config['markets']}'.",
                );
            }

            $markets[$part[0]] = new Market($number, $part[1], $part[2]);
        }

        return new self(
            $markets,
            $config['users'],
            array_map(static fn (string $amount): int => Decimal::parse($amount, Market::AMOUNT_SCALE), $config['deposit']),
            $config['opened_at_ms'],
        );
    }

    public function find(string $key): ?Market
    {
        return $this->markets[$key] ?? null;
    }

    public function market(string $key): Market
    {
        return $this->find($key) ?? throw new InvalidArgumentException(
            "There is no market '{$key}', only " . implode(', ', array_keys($this->markets)) . ': see SPOT_MARKETS.',
        );
    }

    public function defaultKey(): string
    {
        return (string) array_key_first($this->markets);
    }

    /** @return list<string> */
    public function currencies(): array
    {
        return array_values(array_unique(array_merge(...array_values(array_map(
            static fn (Market $market): array => $market->currencies(),
            $this->markets,
        )))));
    }

    /** Whether more than one market locks and pays in it: then no worker knows alone what is left. */
    public function isShared(string $currency): bool
    {
        return count(array_filter(
            $this->markets,
            static fn (Market $market): bool => in_array($currency, $market->currencies(), true),
        )) > 1;
    }

    /** @return int in 1e-10 */
    public function deposit(string $currency): int
    {
        return $this->deposits[$currency]
            ?? throw new InvalidArgumentException("config/spot.php has no deposit for '{$currency}'.");
    }

    /** The table that the extension's template `spot_{currency}_accounts` names. */
    public static function accountTable(string $currency): string
    {
        return "spot_{$currency}_accounts";
    }

    /** @return list<string> */
    public function accountTables(): array
    {
        return array_map(self::accountTable(...), $this->currencies());
    }
}
