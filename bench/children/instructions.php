<?php

declare(strict_types=1);

/*
 * Calls each method `calls` times, for callgrind to count: rows made before, no database.
 * All of it stays in the log's first segment, where a call does what every call does.
 */

[, $journal, $directory, $calls] = $argv;
$buffer = new WriteBuffer(10_000_000, 3_600_000, 3, ['journal' => $journal, 'journal_dir' => $directory, 'max_pending_rows' => 10_000_000]);
$at = 1_777_680_000_000;
$order = [
    'user_id' => 4_711, 'trade_type' => 'buy', 'currency' => 'usd', 'coin' => 'btc', 'type' => 'limit',
    'status' => 'pending', 'quantity' => '0.01234567', 'price' => '77000.1', 'updated_at' => $at,
];
$trade = [
    'match_id' => 4_711, 'buy_order_id' => 815, 'sell_order_id' => 816, 'currency' => 'usd', 'coin' => 'btc',
    'price' => '77000.1', 'quantity' => '0.01234567', 'amount' => '950.617823', 'btc_amount' => '0.01234567', 'status' => 'executed',
    'executed_date' => '2026-05-02', 'buy_fee' => '0.00001234', 'sell_fee' => '0.95061782', 'buyer_id' => 4_711, 'created_at' => $at,
];
// No constant array: without opcache, the keys of one are no strings that PHP knows by their addresses.
$amount = substr('950.617823 usd', 0, 10);
$balance = ['balance' => "-$amount", 'available_balance' => '0.01234567'];
for ($i = 0; $i < $calls; $i++) {
    $buffer->addOrder($i % 1_000 + 1, $order);
}
for ($i = 0; $i < $calls; $i++) {
    $buffer->addTrade($trade);
}
for ($i = 0; $i < $calls; $i++) {
    $buffer->addBalanceUpdate($i % 1_000 + 1, 'usd', $balance);
}
$buffer->clear();
$buffer->close();
