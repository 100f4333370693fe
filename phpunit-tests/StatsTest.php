<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use WriteBuffer;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;

/**
 * Statistics have a fixed structure and add up.
 */
final class StatsTest extends DatabaseTestCase
{
    public function testTheStructureIsThatOfTheContract(): void
    {
        foreach ([$this->bufferInMemory(), $this->writtenBuffer()] as $buffer) {
            $stats = $buffer->getStats();
            self::assertTypes([
                'buffer' => ['orders' => 'int', 'trades' => 'int', 'balances' => 'int', 'total' => 'int'],
                'config' => ['max_buffer_size' => 'int', 'flush_interval_ms' => 'int', 'max_retries' => 'int'],
                'totals' => ['orders_written' => 'int', 'trades_written' => 'int', 'balances_written' => 'int',
                    'flushes' => 'int', 'avg_flush_duration_ms' => 'float'],
                'tables' => array_fill_keys(['orders', 'trades', 'balances'], ['accepted' => 'int', 'pending' => 'int',
                    'pending_merged' => 'int', 'written' => 'int', 'committed' => 'int', 'quarantined' => 'int',
                    'discarded' => 'int', 'sums' => []]),
                'pending' => ['rows' => 'int', 'merged' => 'int', 'bytes' => 'int', 'oldest_ms' => 'float'],
                'sequence' => 'int', 'committed_sequence' => 'int', 'merge_ratio' => 'float',
                'batches' => ['count' => 'int', 'last_rows' => 'int', 'last_ms' => 'float', 'avg_ms' => 'float'],
                'latency_ms' => ['p50' => 'float', 'p95' => 'float', 'p99' => 'float', 'max' => 'float'],
                'retries' => [], 'deadlocks' => 'int', 'reconnects' => 'int', 'quarantined' => 'int',
                'quarantine' => ['groups' => 'int', 'rows' => 'int', 'followers' => 'int', 'held_keys' => 'int'],
                'discarded' => 'int', 'failures' => 'int', 'last_error' => 'string|null', 'halted' => 'string|null',
                'journal' => ['mode' => 'string', 'bytes' => 'int', 'lag_ms' => 'float'],
                'server' => 'string|null', 'connected' => 'bool',
            ], $stats);
        }
    }

    /** @param array<string, mixed> $types */
    private static function assertTypes(array $types, mixed $stats, string $path = 'stats'): void
    {
        self::assertIsArray($stats, $path);
        foreach ($types as $key => $type) {
            self::assertArrayHasKey($key, $stats, $path);
            is_array($type)
                ? self::assertTypes($type, $stats[$key], "$path.$key")
                : self::assertContains(get_debug_type($stats[$key]), explode('|', $type), "$path.$key");
        }
    }

    public function testCountsFollowTheRows(): void
    {
        Database::createAccount(1, 'usd');
        $buffer = $this->buffer();
        foreach (['new', 'executing', 'executed'] as $status) {
            $buffer->addOrder(1, self::order($status));
        }
        $buffer->addTrade(self::trade(1));
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
        $before = $buffer->getStats();
        self::assertSame(['orders' => 1, 'trades' => 1, 'balances' => 1, 'total' => 3], $before['buffer']);
        self::assertSame(
            ['accepted' => 3, 'pending' => 3, 'pending_merged' => 1, 'written' => 0, 'committed' => 0,
                'quarantined' => 0, 'discarded' => 0, 'sums' => []],
            $before['tables']['orders']
        );
        self::assertSame([5, 3], [$before['pending']['rows'], $before['pending']['merged']]);
        self::assertGreaterThan(0, $before['pending']['bytes']);
        self::assertSame([5, 0], [$before['sequence'], $before['committed_sequence']]);
        self::assertFalse($before['connected']);
        self::assertNull($before['server']);
        self::assertSucceeded($buffer->flush());
        $after = $buffer->getStats();
        self::assertSame(['orders' => 0, 'trades' => 0, 'balances' => 0, 'total' => 0], $after['buffer']);
        self::assertSame(
            ['accepted' => 3, 'pending' => 0, 'pending_merged' => 0, 'written' => 1, 'committed' => 3,
                'quarantined' => 0, 'discarded' => 0, 'sums' => []],
            $after['tables']['orders']
        );
        self::assertSame([1, 1, 1], [
            $after['totals']['orders_written'], $after['totals']['trades_written'], $after['totals']['balances_written'],
        ]);
        self::assertSame(1, $after['totals']['flushes']);
        self::assertSame(['rows' => 0, 'merged' => 0, 'bytes' => 0, 'oldest_ms' => 0.0], $after['pending']);
        self::assertSame(5, $after['committed_sequence']);
        self::assertEqualsWithDelta(5 / 3, $after['merge_ratio'], 0.001);
        self::assertSame([1, 3], [$after['batches']['count'], $after['batches']['last_rows']]);
        self::assertGreaterThan(0.0, $after['latency_ms']['max']);
        self::assertGreaterThanOrEqual($after['latency_ms']['p50'], $after['latency_ms']['max']);
        self::assertSame([0, 0, 0, []], [$after['deadlocks'], $after['quarantined'], $after['failures'], $after['retries']]);
        self::assertNull($after['last_error']);
        self::assertNull($after['halted']);
        self::assertTrue($after['connected']);
        self::assertNotEmpty($after['server']);
    }

    public function testAcceptedIsCommittedAndQuarantinedAndDiscardedAndPending(): void
    {
        Database::createAccount(1, 'usd');
        $buffer = $this->buffer();
        for ($i = 1; $i <= 30; $i++) {
            $buffer->transaction(static function (WriteBuffer $buffer) use ($i): void {
                $buffer->addOrder($i % 7 + 1, ['user_id' => $i % 10 ? 7 : null] + self::order());
                $buffer->addBalanceUpdate($i % 6 ? 1 : 404, 'usd', ['balance' => '1']);
                $buffer->addTrade(self::trade($i));
            });
        }
        $result = $buffer->flush();
        self::assertFalse($result->isSuccess());
        $lock = Database::blockWrites('orders');
        $buffer->addOrder(1, self::order());
        $buffer->flush(200);
        $buffer->addTrade(self::trade(100));
        $buffer->addTrade(self::trade(101));
        $buffer->clear();
        $buffer->addTrade(self::trade(102));
        $stats = $buffer->getStats();
        self::assertSame(
            $stats['sequence'],
            array_sum(array_column($stats['tables'], 'committed')) + $stats['quarantined'] + $stats['discarded']
                + $stats['pending']['rows']
        );
        // Five groups were refused; eight stand behind those, two of which would be refused, too.
        self::assertSame(
            ['groups' => 13, 'rows' => 39, 'followers' => 8],
            array_diff_key($stats['quarantine'], ['held_keys' => 0])
        );
        self::assertSame([94, 39, 2, 2], [
            $stats['sequence'], $stats['quarantined'], $stats['discarded'], $stats['pending']['rows'],
        ]);
        self::assertConserved($stats);
        // Each table remembers all that it ever accepted.
        self::assertSame([31, 33, 30], array_column($stats['tables'], 'accepted'));
        self::assertSame(94, array_sum(array_column($stats['tables'], 'accepted')));
        $lock->exec('ROLLBACK');
        $buffer->flush(20_000);
    }

    public function testSumsOfDeltasAreWhereTheirRowsAre(): void
    {
        Database::createAccount(1, 'usd');
        Database::createAccount(2, 'usd');
        $buffer = $this->buffer();
        $sums = static fn (): array => $buffer->getStats()['tables']['balances']['sums'];
        $of = static fn (string $accepted, string $committed, string $quarantined, string $discarded, string $pending): array
            => compact('accepted', 'committed', 'quarantined', 'discarded', 'pending');
        $nothing = $of('0', '0', '0', '0', '0');
        self::assertSame(
            ['balance' => $nothing, 'available_balance' => $nothing, 'usd_amount' => $nothing],
            $sums()
        );
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '100.50', 'available_balance' => '-0.000000000000000001']);
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '-0.5']);
        $buffer->addBalanceUpdate(404, 'usd', ['balance' => '7']);
        $buffer->addBalanceUpdate(2, 'usd', ['balance' => 3]);
        self::assertSame($of('110', '0', '0', '0', '110'), $sums()['balance']);
        $buffer->flush();
        self::assertSame($of('110', '103', '7', '0', '0'), $sums()['balance']);
        $cent = '-0.000000000000000001';
        self::assertSame($of($cent, $cent, '0', '0', '0'), $sums()['available_balance']);
        // What a deletion takes away was accepted and committed all the same.
        $buffer->addBalanceUpdate(2, 'usd', ['balance' => '5']);
        $buffer->delete('balances', ['user_id' => 2, 'currency' => 'usd']);
        $buffer->flush();
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '0.1']);
        $buffer->clear();
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '0.2']);
        self::assertSame($of('115.3', '108', '7', '0.1', '0.2'), $sums()['balance']);
        $stats = $buffer->getStats();
        self::assertConserved($stats);
        self::assertSame(
            [8, 5, 1, 1, 1],
            array_map(
                static fn (string $name): int => $stats['tables']['balances'][$name],
                ['accepted', 'committed', 'quarantined', 'discarded', 'pending']
            )
        );
        self::assertDecimal('100', Database::value('SELECT balance FROM spot_usd_accounts WHERE id = 1'));
    }

    /** @param array<string, mixed> $stats */
    private static function assertConserved(array $stats): void
    {
        self::assertTrue($stats['conserved'], (string) $stats['halted']);
        foreach ($stats['tables'] as $name => $counts) {
            $parts = ['committed' => 0, 'quarantined' => 0, 'discarded' => 0, 'pending' => 0];
            self::assertSame($counts['accepted'], array_sum(array_intersect_key($counts, $parts)), $name);
            foreach ($counts['sums'] as $column => $sums) {
                $known = '0';
                foreach (array_keys($parts) as $part) {
                    $known = bcadd($known, $sums[$part], 30);
                }
                self::assertSame(0, bccomp($sums['accepted'], $known, 30), "$name.$column: " . json_encode($sums));
            }
        }
    }

    public function testFailuresAreCountedAndNamed(): void
    {
        Database::drop('wb_nowhere');
        $buffer = $this->buffer(['tables' => ['nowhere' => ['mode' => 'insert', 'table' => 'wb_nowhere']]]);
        $buffer->add('nowhere', ['n' => 1]);
        $buffer->flush();
        $stats = $buffer->getStats();
        self::assertGreaterThan(0, $stats['failures']);
        self::assertStringContainsString('wb_nowhere', $stats['last_error']);
        Database::create('wb_nowhere', 'n BIGINT NULL');
        self::assertTrue($buffer->waitFor(1, 20_000));
    }

    public function testRetriesAreByCodeAsInts(): void
    {
        $session = Database::isSqlite() ? [] : ['innodb_lock_wait_timeout' => 1];
        $options = ['session' => $session, 'connect_timeout_ms' => 300];
        $buffer = $this->buffer($options, flushIntervalMs: 5);
        $lock = Database::blockWrites('orders');
        $buffer->addOrder(1, self::order());
        $this->eventually(static fn (): bool => $buffer->getStats()['retries'] !== [], 'a retry', 30);
        $lock->exec('ROLLBACK');
        self::assertSucceeded($buffer->flush(20_000));
        foreach ($buffer->getStats()['retries'] as $code => $count) {
            self::assertIsInt($code);
            self::assertSame($count, $buffer->getStats()['retries'][$code]);
            self::assertGreaterThan(0, $count);
        }
        self::assertSame(0, $buffer->getStats()['quarantined']);
    }

    public function testEveryDeclaredTableHasItsCounts(): void
    {
        $buffer = $this->bufferInMemory(['tables' => ['more' => ['mode' => 'insert'], '2fast' => ['mode' => 'insert']]]);
        $buffer->add('more', ['n' => 1]);
        $stats = $buffer->getStats();
        self::assertSame(['orders', 'trades', 'balances', 'more', '2fast'], array_keys($stats['tables']));
        self::assertSame(1, $stats['tables']['more']['pending']);
        self::assertSame(['orders' => 0, 'trades' => 0, 'balances' => 0, 'total' => 1], $stats['buffer']);
    }

    public function testStatisticsHoldNoPassword(): void
    {
        $buffer = $this->writtenBuffer();
        if (!Database::isSqlite()) {
            self::assertStringNotContainsString(Database::parts()['password'], var_export($buffer->getStats(), true));
        }
        ob_start();
        phpinfo(INFO_MODULES);
        $info = (string) ob_get_clean();
        self::assertStringContainsString('write_buffer', $info);
        self::assertStringContainsString('SQLite', $info);
        if (!Database::isSqlite()) {
            self::assertStringNotContainsString(Database::parts()['password'], $info);
        }
        ob_start();
        var_dump($buffer);
        print_r($buffer);
        self::assertStringNotContainsString('password', (string) ob_get_clean());
    }

    private function writtenBuffer(): WriteBuffer
    {
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        self::assertSucceeded($buffer->flush());
        return $buffer;
    }
}
