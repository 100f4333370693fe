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
    private const JIT = ['-d', 'opcache.jit=tracing', '-d', 'opcache.jit_buffer_size=64M'];
    private const ORDER = 'addOrder, 9 columns';

    public function name(): string
    {
        return 'adding';
    }

    public function measure(Run $run, Figures $figures): void
    {
        Database::prepare(new Synthetic(10));
        // What a batch holds already when it is over is written then: the tables take it.
        Database::pdo()->exec('ALTER TABLE orders MODIFY created_at BIGINT UNSIGNED NOT NULL DEFAULT 0');
        Database::pdo()->exec('ALTER TABLE order_transactions DROP INDEX currency, MODIFY btc_amount DECIMAL(30,10) NOT NULL DEFAULT 0');
        $off = ['subject' => 'write-buffer', 'journal' => 'off'];
        $process = ['subject' => 'write-buffer', 'journal' => 'process'];
        $subjects = [
            'empty method' => ['subject' => 'empty-method'],
            'PHP buffer' => ['subject' => 'php-buffer'],
            'WriteBuffer, journal off' => $off,
            'WriteBuffer, journal process' => $process,
        ];
        $rows = [
            self::ORDER => 'order-9',
            'addOrder, 5 columns' => 'order-5',
            'addTrade, 15 columns' => 'trade-15',
            'addBalanceUpdate, 2 deltas' => 'balance-2',
        ];
        $all = [];
        foreach ($rows as $call => $row) {
            foreach ($subjects as $subject => $spec) {
                $all["$call: $subject"] = [$spec + ['row' => $row]];
            }
        }
        foreach ($rows as $call => $row) {
            foreach ($subjects as $subject => $spec) {
                $all["$call, JIT: $subject"] = [$spec + ['row' => $row], self::JIT];
            }
        }
        $all[self::ORDER . ': JSON into a Redis pipeline'] = [['subject' => 'redis', 'row' => 'order-9']];
        $kafka = self::ORDER . ": JSON into php-rdkafka's queue";
        if ($run->hasExtension('rdkafka')) {
            $all[$kafka] = [['subject' => 'rdkafka', 'row' => 'order-9']];
        } else {
            $figures->miss($this->name(), $kafka, 'not measured: no package has php-rdkafka here; BENCH_RDKAFKA=/path/to/rdkafka.so names one');
        }
        $all[self::ORDER . ': WriteBuffer, one hot key'] = [$process + ['row' => 'order-9', 'keys' => 1]];
        $all[self::ORDER . ': WriteBuffer, a million keys'] = [$process + ['row' => 'order-9', 'keys' => 1_000_000]];
        foreach ([1_000, 10_000, 100_000, 1_000_000] as $pending) {
            $all[self::ORDER . ': WriteBuffer, ' . number_format($pending) . ' pending'] = [$process + ['row' => 'order-9', 'keys' => 1_000_000, 'pending' => $pending]];
        }
        $common = ['calls' => $run->size(200_000, 50_000), 'dsn' => Database::dsn()];
        $children = [];
        foreach ($all as $subject => $one) {
            $children[$subject] = [
                static fn (): array => $one[0] + $common,
                fn (array $answers) => $figures->add(new Figure($this->name(), $subject, 'ns/call', array_column($answers, 'ns'))),
                $one[1] ?? [],
            ];
        }
        $run->rounds($this->name(), 'adding', $children);
    }
}
