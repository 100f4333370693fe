<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Sections;

use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Figure;
use WriteBuffer\Bench\Figures;
use WriteBuffer\Bench\Flow\Synthetic;
use WriteBuffer\Bench\Run;

/** Nanoseconds a call, with a writer beside that merges, and a database that takes nothing meanwhile. */
final class Adding implements Section
{
    private const JIT = ['-d', 'opcache.enable_cli=1', '-d', 'opcache.jit=tracing', '-d', 'opcache.jit_buffer_size=64M'];

    public function name(): string
    {
        return 'adding';
    }

    public function measure(Run $run, Figures $figures): void
    {
        Database::prepare(new Synthetic(10));
        // What a batch holds already when it is over is written then: the tables take it.
        Database::pdo()->exec('ALTER TABLE orders MODIFY created_at BIGINT UNSIGNED NOT NULL DEFAULT 0');
        Database::pdo()->exec('ALTER TABLE order_transactions DROP INDEX currency');
        $off = ['subject' => 'write-buffer', 'journal' => 'off'];
        $process = ['subject' => 'write-buffer', 'journal' => 'process'];
        $subjects = [
            'empty method' => ['subject' => 'empty-method'],
            'PHP buffer' => ['subject' => 'php-buffer'],
            'WriteBuffer, journal off' => $off,
            'WriteBuffer, journal process' => $process,
        ];
        $rows = [
            'addOrder, 9 columns' => 'order-9',
            'addOrder, 5 columns' => 'order-5',
            'addTrade, 16 columns' => 'trade-16',
            'addBalanceUpdate, 2 deltas' => 'balance-2',
        ];
        foreach ($rows as $call => $row) {
            foreach ($subjects as $subject => $spec) {
                $this->one($run, $figures, "$call: $subject", $spec + ['row' => $row]);
            }
        }
        foreach ($subjects as $subject => $spec) {
            $this->one($run, $figures, "addOrder, 9 columns, JIT: $subject", $spec + ['row' => 'order-9'], self::JIT);
        }
        $this->one($run, $figures, 'addOrder, 9 columns: JSON into a Redis pipeline', ['subject' => 'redis', 'row' => 'order-9']);
        if (extension_loaded('rdkafka')) {
            $this->one($run, $figures, "addOrder, 9 columns: JSON into php-rdkafka's queue", ['subject' => 'rdkafka', 'row' => 'order-9']);
        }
        $this->one($run, $figures, 'addOrder, 9 columns: one hot key', $process + ['row' => 'order-9', 'keys' => 1]);
        $this->one($run, $figures, 'addOrder, 9 columns: a million keys', $process + ['row' => 'order-9', 'keys' => 1_000_000]);
        foreach ([1_000, 10_000, 100_000, 1_000_000] as $pending) {
            $this->one($run, $figures, 'addOrder, 9 columns: ' . number_format($pending) . ' pending', $process + ['row' => 'order-9', 'keys' => 1_000_000, 'pending' => $pending]);
        }
    }

    /**
     * @param array<string, mixed> $spec
     * @param list<string> $flags
     */
    private function one(Run $run, Figures $figures, string $subject, array $spec, array $flags = []): void
    {
        $spec += ['calls' => $run->size(200_000, 50_000), 'dsn' => Database::dsn()];
        $answers = $run->children($subject, 'adding', $spec, $flags);
        $figures->add(new Figure($this->name(), $subject, 'ns/call', array_column($answers, 'ns')));
    }
}
