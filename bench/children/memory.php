<?php

declare(strict_types=1);

/*
 * Given as JSON: what. "pending": bytes of memory that each of `rows` pending orders takes, and the
 * bytes of its names and values alone. "long": resident KiB after a tenth of `matches` and after all.
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

if ($spec['what'] === 'pending') {
    Database::prepare(new Synthetic(10));
    Database::pdo()->exec('ALTER TABLE orders MODIFY created_at BIGINT UNSIGNED NOT NULL DEFAULT 0');
    $buffer = new WriteBuffer(10_000_000, 3_600_000, 3, ['dsn' => Database::dsn(), 'max_pending_rows' => 10_000_000, 'max_pending_bytes' => 8 << 30]);
    $row = static fn (int $n): array => [
        'user_id' => $n % 5_000, 'trade_type' => 'buy', 'currency' => 'usd', 'coin' => 'btc', 'type' => 'limit',
        'status' => 'pending', 'quantity' => "0.0$n", 'price' => '77000.1', 'updated_at' => 1_777_680_000_000 + $n,
    ];
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
    // Until the writer has merged them all.
    while ($buffer->getStats()['tables']['orders']['pending_merged'] < $spec['rows']) {
        usleep(10_000);
    }
    usleep(100_000);
    echo json_encode(['bytes' => ($resident() - $before) * 1024 / $spec['rows'], 'raw' => $raw / $spec['rows']], JSON_THROW_ON_ERROR), "\n";
    $buffer->clear();
    $blocker->exec('UNLOCK TABLES');
    $buffer->close();
    exit;
}

// The same 20,000 matches again and again, with trade numbers of their own.
$flow = new Synthetic(20_000);
Database::prepare($flow);
$groups = iterator_to_array($flow->groups(), false);
$peer = new Extension('process');
$peer->prepare($flow);
$first = 0;
for ($match = 0; $match < $spec['matches']; $match++) {
    $group = $groups[$match % 20_000];
    $group[2][1]['match_id'] = $match + 1;
    $peer->apply($group);
    if ($match === intdiv($spec['matches'], 10)) {
        $peer->finish();
        $first = $resident();
    }
}
$peer->finish();
echo json_encode(['first' => $first, 'last' => $resident()], JSON_THROW_ON_ERROR), "\n";
$peer->facts();
