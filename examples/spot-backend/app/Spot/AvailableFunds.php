<?php

declare(strict_types=1);

namespace App\Spot;

use LogicException;

/**
 * What each user may still lock, in 1e-10.
 *
 * The one writer of a market's accounts keeps this from start to end, so it is never behind
 * what is buffered: it is loaded from the database once, with nothing pending.
 */
final class AvailableFunds
{
    /** @var array<string, array<int, int>> currency => user id => amount */
    private array $amounts = [];

    /** @param array<int, int> $amounts */
    public function load(string $currency, array $amounts): void
    {
        $this->amounts[$currency] = $amounts;
    }

    public function cover(int $userId, string $currency, int $amount): bool
    {
        return ($this->amounts[$currency][$userId] ?? 0) >= $amount;
    }

    public function change(int $userId, string $currency, int $amount): void
    {
        $left = Decimal::sum($this->amounts[$currency][$userId] ?? 0, $amount);

        if ($left < 0) {
            throw new LogicException("user {$userId} would have {$left} available {$currency}");
        }

        $this->amounts[$currency][$userId] = $left;
    }
}
