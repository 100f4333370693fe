<?php

declare(strict_types=1);

/*
 * Times calls of one method with rows that were made before, and prints nanoseconds a call as JSON.
 *
 * Given as JSON: subject, row (order-5, order-9, trade-15, balance-2), keys (how many different
 * ones), calls, pending (rows that lie in the buffer already), journal, dsn.
 */

use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Peers\PhpBuffer;
use WriteBuffer\Bench\Peers\RedisList;

require __DIR__ . '/../autoload.php';

const BURST = 1_000;
const PAUSE_US = 2_000;

$spec = json_decode($argv[1], true, 512, JSON_THROW_ON_ERROR);
[$subject, $kind, $keys, $calls, $pending] = [$spec['subject'], $spec['row'], $spec['keys'] ?? 1_000, $spec['calls'], $spec['pending'] ?? 0];
$at = 1_777_680_000_000;

$row = static fn (int $n): array => match ($kind) {
    'order-5' => ['status' => 'executing', 'executed_quantity' => "0.0$n", 'executed_price' => '77000.1', 'fee' => '0.00001', 'updated_at' => $at + $n],
    'order-9' => [
        'user_id' => $n, 'trade_type' => 'buy', 'currency' => 'usd', 'coin' => 'btc', 'type' => 'limit',
        'status' => 'pending', 'quantity' => "0.0$n", 'price' => '77000.1', 'updated_at' => $at + $n,
    ],
    'trade-15' => [
        'match_id' => $n, 'buy_order_id' => $n, 'sell_order_id' => $n + 1, 'currency' => 'usd', 'coin' => 'btc',
        'price' => '77000.1', 'quantity' => "0.0$n", 'amount' => "77$n.5", 'status' => 'executed',
        'executed_date' => '2026-05-02', 'buy_fee' => '0.00001', 'sell_fee' => '0.77', 'buyer_id' => $n, 'seller_id' => $n, 'created_at' => $at + $n,
    ],
    'balance-2' => ['balance' => "-1$n.25", 'available_balance' => "0.0$n"],
};
$rows = array_map($row, range(1, 1_024));

// Loops of their own for each subject: no call but the one that is measured.
$add = static function (object $target, int $from, int $to) use ($kind, $rows, $keys): void {
    if ($kind === 'trade-15') {
        for ($i = $from; $i < $to; $i++) {
            $target->addTrade($rows[$i & 1023]);
        }
    } elseif ($kind === 'balance-2') {
        for ($i = $from; $i < $to; $i++) {
            $target->addBalanceUpdate($i % $keys + 1, 'usd', $rows[$i & 1023]);
        }
    } else {
        for ($i = $from; $i < $to; $i++) {
            $target->addOrder($i % $keys + 1, $rows[$i & 1023]);
        }
    }
};

$directory = sys_get_temp_dir() . '/write-buffer-bench-' . bin2hex(random_bytes(6));
mkdir($directory, 0700);
$target = match ($subject) {
    'empty-method' => new EmptyMethod(),
    'php-buffer' => new PhpBuffer(null),
    'write-buffer' => new WriteBuffer(10_000_000, 3_600_000, 3, array_filter([
        'dsn' => $spec['dsn'] ?? null,
        'journal' => $spec['journal'] ?? 'off',
        'journal_dir' => $directory,
        'name' => 'bench',
        'max_pending_rows' => 100_000_000,
        'max_pending_bytes' => 64 << 30,
        'journal_max_bytes' => 64 << 30,
    ])),
    'redis' => new class () {
        private Redis $redis;

        public function __construct()
        {
            $this->redis = RedisList::connect()->pipeline();
        }

        /** @param array<string, mixed> $data */
        public function addOrder(int $id, array $data): void
        {
            $this->redis->rPush('orders', json_encode(['id' => $id] + $data));
        }
    },
    'rdkafka' => new class () {
        private RdKafka\ProducerTopic $topic;
        private RdKafka\Producer $producer;

        public function __construct()
        {
            $settings = new RdKafka\Conf();
            // A broker that is not there: the queue alone is measured.
            $settings->set('bootstrap.servers', '127.0.0.1:1');
            $settings->set('queue.buffering.max.messages', '10000000');
            $settings->set('queue.buffering.max.kbytes', '2000000');
            $settings->set('log_level', '0');
            $this->producer = new RdKafka\Producer($settings);
            $this->topic = $this->producer->newTopic('orders');
        }

        /** @param array<string, mixed> $data */
        public function addOrder(int $id, array $data): void
        {
            $this->topic->produce(RD_KAFKA_PARTITION_UA, 0, json_encode(['id' => $id] + $data), (string) $id);
        }
    },
};

// The database does not take rows now: what is added stays pending, and the writer merges.
$blocker = null;
if (isset($spec['dsn'])) {
    $blocker = Database::pdo();
    $blocker->exec('LOCK TABLES orders WRITE, order_transactions WRITE, spot_usd_accounts WRITE');
}
// What comes once: the schema's look-up, the first segment, JIT.
$add($target, 0, 2_000);
$add($target, 2_000, 2_000 + $pending);
gc_collect_cycles();
// What was added in one go is dealt with before the clock starts: all threads are quiet twice in a row.
$cpu = static fn (): int => (static fn (array $u): int => ($u['ru_utime.tv_sec'] + $u['ru_stime.tv_sec']) * 1_000_000 + $u['ru_utime.tv_usec'] + $u['ru_stime.tv_usec'])(getrusage());
$settle = static function () use ($cpu): void {
    for ($quiet = 0, $looks = 0; $quiet < 2 && $looks < 3_000; $looks++) {
        $before = $cpu();
        usleep(20_000);
        $quiet = $cpu() - $before < 500 ? $quiet + 1 : 0;
    }
};
$settle();
// In bursts, as a matcher adds: in the pauses a background thread can do its work, and a tight loop
// would measure the page faults of memory that nobody has had time to make ready.
$took = 0;
$grown = 0;
for ($from = 2_000 + $pending, $to = $from + $calls; $from < $to; $from += BURST) {
    if ($pending > 0 && $grown >= max($pending, 5 * BURST)) {
        // So many are to be pending, and not more and more.
        $target->clear();
        $add($target, 2_000, 2_000 + $pending);
        $settle();
        $grown = 0;
    }
    $grown += BURST;
    usleep(PAUSE_US);
    $begun = hrtime(true);
    $add($target, $from, $from + BURST);
    $took += hrtime(true) - $begun;
}
echo json_encode(['ns' => $took / $calls], JSON_THROW_ON_ERROR), "\n";

if ($target instanceof WriteBuffer) {
    $target->clear();
    $blocker?->exec('UNLOCK TABLES');
    $target->close();
    foreach (new RecursiveIteratorIterator(new RecursiveDirectoryIterator($directory, FilesystemIterator::SKIP_DOTS), RecursiveIteratorIterator::CHILD_FIRST) as $path => $file) {
        $file->isDir() ? rmdir($path) : unlink($path);
    }
}
rmdir($directory);
// The queue of a broker that is not there would be waited for.
$subject === 'rdkafka' && posix_kill(getmypid(), SIGKILL);
