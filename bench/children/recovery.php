<?php

declare(strict_types=1);

/*
 * Kills a process that has added `rows` trades to a journal and knew no database, and prints how
 * many seconds the next one takes to write them all.
 */

use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Flow\Synthetic;

require __DIR__ . '/../autoload.php';

$spec = json_decode($argv[1], true, 512, JSON_THROW_ON_ERROR);
Database::prepare(new Synthetic(10));
$directory = sys_get_temp_dir() . '/write-buffer-bench-' . bin2hex(random_bytes(6));
mkdir($directory, 0700);
$options = ['journal' => 'process', 'journal_dir' => $directory, 'max_pending_rows' => 100_000_000, 'max_pending_bytes' => 64 << 30, 'journal_max_bytes' => 64 << 30];

$child = pcntl_fork();
if ($child === 0) {
    $buffer = WriteBuffer::open('recovery', $options);
    for ($n = 1; $n <= $spec['rows']; $n++) {
        $buffer->addTrade([
            'match_id' => $n, 'buy_order_id' => $n, 'sell_order_id' => $n + 1, 'currency' => 'usd', 'coin' => 'btc',
            'price' => '77000.1', 'quantity' => '0.01', 'amount' => '770.001', 'btc_amount' => '0.01', 'status' => 'executed',
            'executed_date' => '2026-05-02', 'buy_fee' => '0.00001', 'sell_fee' => '0.77', 'buyer_id' => 1, 'seller_id' => 2, 'created_at' => $n,
        ]);
    }
    posix_kill(getmypid(), SIGKILL);
}
pcntl_waitpid($child, $status);
$bytes = array_sum(array_map(filesize(...), glob("$directory/*/*/*.seg") ?: []));
$begun = hrtime(true);
$buffer = WriteBuffer::open('recovery', $options + ['dsn' => Database::dsn()]);
$result = $buffer->flush(3_600_000);
$took = (hrtime(true) - $begun) / 1e9;
$written = (int) Database::pdo()->query('SELECT COUNT(*) FROM order_transactions')->fetchColumn();
if (!$result->isSuccess() || $written !== $spec['rows']) {
    fwrite(STDERR, "$written of {$spec['rows']} rows: " . implode(' ', $result->getErrors()) . "\n");
    exit(1);
}
$buffer->close();
array_map(rmdir(...), array_reverse(glob("$directory/*") ?: []));
rmdir($directory);
echo json_encode(['seconds' => $took, 'mib' => $bytes / 1048576], JSON_THROW_ON_ERROR), "\n";
