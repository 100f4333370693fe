<?php

declare(strict_types=1);

namespace App\Spot;

use App\Spot\Worker\Engines;
use App\Spot\Worker\MarketEngine;
use Illuminate\Database\Connection;
use RuntimeException;

/**
 * Orders and balances as they are for this process: what the database has, and over it what the
 * buffers of this process have not written yet.
 */
final class LiveState
{
    private const ATTEMPTS = 2_000;
    private const RETRY_AFTER_US = 1_000;
    private const AMOUNTS = ['balance', 'available_balance'];

    public function __construct(
        private readonly Exchange $exchange,
        private readonly Engines $engines,
        private readonly Connection $database,
    ) {
    }

    /** @return array<string, mixed>|null */
    public function order(Market $market, int $id): ?array
    {
        // The buffer first: see BufferStore::knownOrder().
        $pending = ($this->engines->atWork()[$market->key()] ?? null)?->buffer->find('orders', $id);
        $stored = $this->database->table('orders')->where('id', $id)
            ->where('currency', $market->currency)->where('coin', $market->coin)->first();

        return $pending === null && $stored === null ? null : (array) $pending + (array) $stored;
    }

    /** @return string|null why the order was refused */
    public function refusalOf(int $orderId): ?string
    {
        return $this->database->table('spot_refusals')->where('order_id', $orderId)->value('reason');
    }

    /**
     * Pending amounts are added to those of the database, so both must be of the same moment: the
     * progress that is read with the accounts has to be the last that the buffer knows as written.
     *
     * @return array<string, array<string, string>>|null by currency; null for a user without accounts
     */
    public function balances(int $userId): ?array
    {
        $engines = $this->engines->atWork();

        for ($attempt = 0; $attempt < self::ATTEMPTS; $attempt++) {
            $written = self::written($engines);
            $pending = $this->pending($engines, $userId);
            [$stored, $sequences] = $this->database->transaction(fn (): array => [$this->stored($userId), $this->sequences($engines)]);

            if ($written === self::written($engines) && $written === $sequences) {
                return in_array(null, $stored, true) ? null : self::sums($stored, $pending);
            }

            usleep(self::RETRY_AFTER_US);
        }

        throw new RuntimeException('The balances do not come to rest: is the database away, or was a market of this process taken over?');
    }

    /**
     * @param array<string, MarketEngine> $engines
     * @return array<string, int> the last sequence that is settled, by market
     */
    private static function written(array $engines): array
    {
        return array_map(static fn (MarketEngine $engine): int => $engine->buffer->committedSequence(), $engines);
    }

    /**
     * @param array<string, MarketEngine> $engines
     * @return array<string, int> that of the progress in the database, by market
     */
    private function sequences(array $engines): array
    {
        return array_map(fn (MarketEngine $engine): int => (int) $this->database->table('spot_progress')
            ->where('market', $engine->market->key())->value('sequence'), $engines);
    }

    /**
     * @param array<string, MarketEngine> $engines
     * @return array<string, list<array<string, mixed>>> by currency
     */
    private function pending(array $engines, int $userId): array
    {
        $pending = [];

        foreach ($this->exchange->currencies() as $currency) {
            foreach ($engines as $engine) {
                $pending[$currency][] = $engine->buffer->find('balances', ['user_id' => $userId, 'currency' => $currency]) ?? [];
            }
        }

        return $pending;
    }

    /** @return array<string, array<string, mixed>|null> by currency */
    private function stored(int $userId): array
    {
        $stored = [];

        foreach ($this->exchange->currencies() as $currency) {
            $row = $this->database->table(Exchange::accountTable($currency))->where('id', $userId)->first(self::AMOUNTS);
            $stored[$currency] = $row === null ? null : (array) $row;
        }

        return $stored;
    }

    /**
     * @param array<string, array<string, mixed>> $stored
     * @param array<string, list<array<string, mixed>>> $pending
     * @return array<string, array<string, string>>
     */
    private static function sums(array $stored, array $pending): array
    {
        foreach ($stored as $currency => $amounts) {
            foreach (self::AMOUNTS as $column) {
                $sum = bcadd((string) $amounts[$column], '0', Market::AMOUNT_SCALE);

                foreach ($pending[$currency] ?? [] as $changes) {
                    $sum = bcadd($sum, (string) ($changes[$column] ?? '0'), Market::AMOUNT_SCALE);
                }

                $stored[$currency][$column] = $sum;
            }
        }

        return $stored;
    }
}
