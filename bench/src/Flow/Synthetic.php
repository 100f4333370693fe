<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Flow;

/**
 * A busy market: each buy order is filled by two matches, each sell order by three; a few of
 * 5,000 users trade most. The same count makes the same flow.
 */
final class Synthetic implements Flow
{
    private const USERS = 5_000;
    private const AT_MS = 1_777_680_000_000;

    public function __construct(private readonly int $matches)
    {
    }

    public function size(): int
    {
        return $this->matches;
    }

    public function matches(): int
    {
        return $this->matches;
    }

    public function users(): array
    {
        return range(1, self::USERS);
    }

    public function orders(): iterable
    {
        for ($n = 1; $n <= $this->matches / 2 + 1; $n++) {
            yield $this->order(2 * $n, 'buy');
        }
        for ($n = 1; $n <= $this->matches / 3 + 1; $n++) {
            yield $this->order(2 * $n + 1, 'sell');
        }
    }

    public function groups(): iterable
    {
        for ($match = 1; $match <= $this->matches; $match++) {
            yield $this->match($match);
        }
    }

    /** @return list<array{0: string, 1: mixed, 2?: mixed, 3?: mixed}> */
    private function match(int $match): array
    {
        $buy = 2 * intdiv($match + 1, 2);
        $sell = 2 * intdiv($match + 2, 3) + 1;
        [$buyer, $seller] = [self::user($buy), self::user($sell)];
        $at = self::AT_MS + intdiv($match, 5);
        // Tenths of a dollar, and hundred millionths of a coin.
        $price = 770_000 + self::hash($match) % 10_000;
        $quantity = 10_000 + self::hash($match + 7) % 1_000_000;
        $coins = self::decimal($quantity, 8);
        $amount = self::decimal($price * $quantity, 9);
        $fee = self::decimal(intdiv($quantity, 1_000), 8);
        $sellFee = self::decimal(intdiv($price * $quantity, 1_000), 9);
        $bought = 1 + ($match + 1) % 2;
        $sold = 1 + ($match + 2) % 3;

        return [
            ['order', $buy, [
                'status' => $bought === 2 ? 'executed' : 'executing',
                'executed_quantity' => self::decimal($bought * $quantity, 8),
                'executed_price' => self::decimal($price, 1),
                'fee' => self::decimal($bought * intdiv($quantity, 1_000), 8),
                'updated_at' => $at,
            ]],
            ['order', $sell, [
                'status' => $sold === 3 ? 'executed' : 'executing',
                'executed_quantity' => self::decimal($sold * $quantity, 8),
                'executed_price' => self::decimal($price, 1),
                'fee' => self::decimal($sold * intdiv($price * $quantity, 1_000), 9),
                'updated_at' => $at,
            ]],
            ['trade', [
                'match_id' => $match,
                'buy_order_id' => $buy,
                'sell_order_id' => $sell,
                'currency' => 'usd',
                'coin' => 'btc',
                'price' => self::decimal($price, 1),
                'quantity' => $coins,
                'amount' => $amount,
                'btc_amount' => $coins,
                'status' => 'executed',
                'executed_date' => '2026-05-02',
                'buy_fee' => $fee,
                'sell_fee' => $sellFee,
                'buyer_id' => $buyer,
                'seller_id' => $seller,
                'created_at' => $at,
            ]],
            ['balance', $buyer, 'usd', ['balance' => "-$amount", 'available_balance' => self::decimal($quantity, 9)]],
            ['balance', $buyer, 'btc', ['balance' => $coins, 'available_balance' => $coins]],
            ['balance', $seller, 'usd', ['balance' => $amount, 'available_balance' => $amount]],
            ['balance', $seller, 'btc', ['balance' => "-$coins", 'available_balance' => '0']],
        ];
    }

    /** @return array<string, int|string> */
    private function order(int $id, string $side): array
    {
        return [
            'id' => $id,
            'user_id' => self::user($id),
            'trade_type' => $side,
            'currency' => 'usd',
            'coin' => 'btc',
            'type' => 'limit',
            'status' => 'pending',
            'quantity' => '0.0300000000',
            'price' => self::decimal(770_000 + self::hash($id) % 10_000, 1),
            'created_at' => self::AT_MS,
            'updated_at' => self::AT_MS,
        ];
    }

    private static function user(int $order): int
    {
        $share = self::hash($order) / 0xFFFFFFFF;

        return 1 + (int) ($share ** 3 * (self::USERS - 1));
    }

    private static function hash(int $number): int
    {
        return crc32("flow $number");
    }

    private static function decimal(int $value, int $digits): string
    {
        $text = str_pad((string) $value, $digits + 1, '0', STR_PAD_LEFT);

        return substr($text, 0, -$digits) . '.' . substr($text, -$digits);
    }
}
