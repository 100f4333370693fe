<?php

declare(strict_types=1);

/*
 * Given as JSON: what. "pending": bytes of memory that each of `rows` pending orders takes, and the
 * bytes of its values alone. "long": resident KiB after a tenth of `matches` and after all.
 */

use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Flow\Synthetic;
use WriteBuffer\Bench\Peers\Extension;

require __DIR__ . '/../autoload.php';

$spec = json_decode($argv[1], true, 512, JSON_THROW_ON_ERROR);
$resident = static function (): int {
    preg_match('/^VmRSS:\s+(\d+)/m', (string) file_get_contents('/proc/self/status'), $found);

    return (int) $found[1];
};
// Once the writer has done with the rows what it does: it takes no more memory, and lets go of none.
$settled = static function () use ($resident): int {
    for ($same = 0, $now = 0; $same < 10; usleep(50_000)) {
        [$last, $now] = [$now, $resident()];
        $same = $last === $now ? $same + 1 : 0;
    }

    return $now;
};

if ($spec['what'] === 'pending') {
    Database::prepare(new Synthetic(10));
    Database::pdo()->exec('ALTER TABLE orders MODIFY created_at BIGINT UNSIGNED NOT NULL DEFAULT 0');
    $buffer = new WriteBuffer(10_000_000, 3_600_000, 3, ['dsn' => Database::dsn(), 'max_pending_rows' => 10_000_000, 'max_pending_bytes' => 8 << 30]);
    $row = static fn (int $n): array => [
        'user_id' => $n % 5_000, 'trade_type' => 'buy', 'currency' => 'usd', 'coin' => 'btc', 'type' => 'limit',
        'status' => 'pending', 'quantity' => "0.0$n", 'price' => '77000.1', 'updated_at' => 1_777_680_000_000 + $n,
    ];
    // What comes once: the thread, the connection, the schema.
    $buffer->addOrder(1, $row(1));
    $buffer->flush();
    // The database takes no rows now.
    $blocker = Database::pdo();
    $blocker->exec('LOCK TABLES orders WRITE');
    $raw = 0;
    // Another key each time: nothing merges.
    $before = $resident();
    for ($n = 1; $n <= $spec['rows']; $n++) {
        $columns = $row($n);
        $buffer->addOrder($n, $columns);
        $raw += 8;
        foreach ($columns as $value) {
            $raw += is_int($value) ? 8 : strlen($value);
        }
    }
    echo json_encode(['bytes' => ($settled() - $before) * 1024 / $spec['rows'], 'raw' => $raw / $spec['rows']], JSON_THROW_ON_ERROR), "\n";
    $buffer->clear();
    $blocker->exec('UNLOCK TABLES');
    $buffer->close();
    exit;
}

// The same 2,000 matches again and again, with trade numbers of their own. What is measured is this
// process, so the server is spared: it has no indexes to keep but those that rows are found by, and
// trades are let go each time all are written.
$flow = new Synthetic(2_000);
Database::prepare($flow);
$pdo = Database::pdo();
foreach (['orders', 'order_transactions'] as $table) {
    $indexes = array_diff(array_unique($pdo->query("SHOW INDEX FROM $table")->fetchAll(PDO::FETCH_COLUMN, 2)), ['PRIMARY']);
    $pdo->exec("ALTER TABLE $table " . implode(', ', array_map(static fn (string $index): string => "DROP INDEX `$index`", $indexes)));
}
$groups = iterator_to_array($flow->groups(), false);
$peer = new Extension('process');
$peer->prepare($flow);
[$first, $last] = [0, 0];
$step = intdiv($spec['matches'], 10);
for ($match = 1; $match <= $spec['matches']; $match++) {
    $group = $groups[($match - 1) % 2_000];
    $group[2][1]['match_id'] = $match;
    $peer->apply($group);
    if ($match % $step === 0) {
        $peer->finish();
        $last = $settled();
        $first = $first ?: $last;
        fwrite(STDERR, sprintf("    %s matches: %s KiB resident\n", number_format($match), number_format($last)));
        $pdo->exec('TRUNCATE TABLE order_transactions');
        Database::dropOldLogs();
    }
}
echo json_encode(['first' => $first, 'last' => $last], JSON_THROW_ON_ERROR), "\n";
$peer->facts();
