<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use WriteBuffer;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * What the database refuses for good is set aside, whole, and nothing else is.
 */
final class QuarantineTest extends DatabaseTestCase
{
    public function testARefusedRowIsSetAsideAndTheRestCommits(): void
    {
        $buffer = $this->buffer();
        for ($id = 1; $id <= 100; $id++) {
            $buffer->addOrder($id, ['user_id' => $id === 42 ? null : 7] + self::order());
        }
        $result = $buffer->flush();
        self::assertFalse($result->isSuccess());
        self::assertSame(1, $result->getQuarantined());
        self::assertSame(0, $result->getPending());
        self::assertSame(99, $result->getOrdersWritten());
        self::assertCount(1, $result->getErrors());
        self::assertStringContainsString('user_id', $result->getErrors()[0]);
        self::assertSame(99, Database::count('orders'));
        self::assertNull(Database::value('SELECT id FROM orders WHERE id = 42'));
        self::assertSame(100, $buffer->committedSequence());
        self::assertCount(0, $buffer);
        self::assertSame(1, $buffer->getStats()['quarantined']);
        self::assertSucceeded($buffer->flush());
    }

    public function testSeveralRefusedRowsAreAllFound(): void
    {
        $buffer = $this->buffer();
        for ($id = 1; $id <= 64; $id++) {
            $buffer->addOrder($id, ['user_id' => in_array($id, [1, 2, 31, 64], true) ? null : 7] + self::order());
        }
        $result = $buffer->flush();
        self::assertSame(4, $result->getQuarantined());
        self::assertCount(4, $result->getErrors());
        self::assertSame(60, $result->getOrdersWritten());
        self::assertSame(60, Database::count('orders'));
    }

    public function testARefusedGroupIsSetAsideWhole(): void
    {
        Database::createAccount(1, 'usd', '100');
        $buffer = $this->buffer();
        $buffer->addOrder(1, self::order());
        $buffer->transaction(static function (WriteBuffer $buffer): void {
            $buffer->addTrade(self::trade(1));
            $buffer->addBalanceUpdate(1, 'usd', ['balance' => '-5']);
            $buffer->addBalanceUpdate(404, 'usd', ['balance' => '5']);
        });
        $buffer->addOrder(2, self::order());
        $result = $buffer->flush();
        self::assertSame(3, $result->getQuarantined());
        self::assertSame([2, 0], [Database::count('orders'), Database::count('order_transactions')]);
        self::assertDecimal('100', Database::value('SELECT balance FROM spot_usd_accounts'));
    }

    public function testAQuarantinedGroupIsALineInAFileOfItsOwner(): void
    {
        $directory = $this->newDirectory();
        $buffer = $this->buffer(['journal_dir' => $directory, 'name' => 'spot']);
        $buffer->addOrder(1, self::order());
        $buffer->transaction(static function (WriteBuffer $buffer): void {
            $buffer->addTrade(['match_id' => 7, 'price' => null, 'quantity' => '0.10']);
            $buffer->addOrder(2, self::order("quote \" and line\n", '1.50'));
            $buffer->delete('orders', 3);
        });
        $buffer->flush();
        $file = "$directory/spot.quarantine.jsonl";
        self::assertFileExists($file);
        self::assertSame(0600, fileperms($file) & 0777);
        self::assertSame(0700, fileperms($directory) & 0777);
        $lines = file($file, FILE_IGNORE_NEW_LINES);
        self::assertCount(1, $lines);
        $group = json_decode($lines[0], true, flags: JSON_THROW_ON_ERROR);
        self::assertSame(['spot', 2, 4], [$group['buffer'], $group['first'], $group['last']]);
        self::assertStringContainsString('price', $group['reason']);
        self::assertSame(['trades', 'orders', 'orders'], array_column($group['rows'], 'table'));
        self::assertSame(['add', 'add', 'delete'], array_column($group['rows'], 'change'));
        self::assertEquals(['match_id' => 7, 'price' => null, 'quantity' => '0.10'], $group['rows'][0]['row']);
        self::assertEquals(['id' => 2] + self::order("quote \" and line\n", '1.50'), $group['rows'][1]['row']);
        self::assertEquals(['id' => 3], $group['rows'][2]['row']);
        $buffer->addOrder(5, ['user_id' => null] + self::order());
        $buffer->flush();
        self::assertCount(2, file($file));
    }

    public function testWithoutADirectoryTheEndOfTheProcessSaysWhatIsLost(): void
    {
        $child = Subprocess::run(<<<'PHP'
            $buffer = new WriteBuffer(1_000_000, 86_400_000, 3, $options);
            $buffer->addTrade(['price' => null, 'quantity' => '1']);
            $buffer->addTrade(trade(1));
            echo $buffer->flush()->getQuarantined();
            PHP);
        self::assertSame([0, '1'], [$child->exitCode, $child->stdout()], $child->output());
        self::assertMatchesRegularExpression('/write_buffer: 1 row.*price.*/', $child->stderr());
        self::assertSame(1, Database::count('order_transactions'));
    }

    public function testMergedRowsAreQuarantinedAsTheyWereAdded(): void
    {
        $directory = $this->newDirectory();
        $buffer = $this->buffer(['journal_dir' => $directory]);
        Database::createAccount(1, 'usd', '0');
        $buffer->addBalanceUpdate(404, 'usd', ['balance' => '1']);
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '1']);
        $buffer->addBalanceUpdate(404, 'usd', ['balance' => '2']);
        $result = $buffer->flush();
        self::assertSame(2, $result->getQuarantined());
        $groups = array_map(
            static fn (string $line): array => json_decode($line, true, flags: JSON_THROW_ON_ERROR),
            file("$directory/default.quarantine.jsonl") ?: []
        );
        self::assertSame([1, 3], array_column($groups, 'first'));
        self::assertEquals(
            ['user_id' => 404, 'currency' => 'usd', 'balance' => '2'],
            $groups[1]['rows'][0]['row']
        );
        // So that amounts can be told from other numbers without the declaration.
        self::assertSame(['balance'], $groups[1]['rows'][0]['delta']);
    }

    public function testLaterGroupsOfARefusedRowFollowItAndSumsPass(): void
    {
        Database::createAccount(1, 'usd', '0');
        $buffer = $this->buffer(['journal_dir' => $this->newDirectory(), 'name' => 'spot']);
        $buffer->transaction(static function (WriteBuffer $buffer): void {
            $buffer->addOrder(1, ['user_id' => null] + self::order());
            $buffer->addBalanceUpdate(1, 'usd', ['balance' => '5']);
        });
        self::assertSame(2, $buffer->flush()->getQuarantined());
        $buffer->addOrder(1, self::order());
        $buffer->addOrder(2, self::order());
        $buffer->addBalanceUpdate(1, 'usd', ['balance' => '7']);
        $result = $buffer->flush();
        self::assertSame([1, 1], [$result->getQuarantined(), $result->getOrdersWritten()]);
        self::assertSame([
            'Rows 3 to 3 are in quarantine: Behind rows 1 to 2, which are in quarantine: orders, key 1. '
            . 'Replay or discard those first: `write-buffer quarantine list --name spot`.',
        ], $result->getErrors());
        self::assertSame([2], array_map('intval', array_column(Database::rows('SELECT id FROM orders'), 'id')));
        self::assertDecimal('7', Database::value('SELECT balance FROM spot_usd_accounts'));
        self::assertSame(
            ['groups' => 2, 'rows' => 3, 'followers' => 1, 'held_keys' => 2],
            $buffer->getStats()['quarantine']
        );
    }

    public function testOfManyGroupsBehindOthersTheFirstAreNamed(): void
    {
        $buffer = $this->buffer(['journal_dir' => $this->newDirectory()]);
        $buffer->addOrder(1, ['user_id' => null] + self::order());
        $buffer->flush();
        for ($n = 0; $n < 1_000; $n++) {
            $buffer->addOrder(1, self::order());
        }
        $result = $buffer->flush();
        self::assertSame(1_000, $result->getQuarantined());
        self::assertCount(11, $result->getErrors());
        self::assertStringStartsWith('And 990 more group(s) are in quarantine', $result->getErrors()[10]);
        self::assertSucceeded($buffer->flush());
    }

    public function testAHaltedBufferWritesNothingMoreAndSaysWhy(): void
    {
        $child = Subprocess::run(<<<'PHP'
            $buffer = new WriteBuffer(1_000_000, 86_400_000, 3, $options + ['on_error' => 'halt']);
            $buffer->addOrder(1, ['user_id' => 7, 'status' => 'new', 'quantity' => '1']);
            $buffer->addOrder(2, ['user_id' => null, 'status' => 'new', 'quantity' => '1']);
            $result = $buffer->flush();
            echo json_encode([$result->isSuccess(), $result->getQuarantined(), $result->getPending()]);
            echo str_contains(implode($result->getErrors()), 'user_id') ? ' named ' : implode($result->getErrors());
            try {
                $buffer->addOrder(3, ['status' => 'new']);
            } catch (WriteBuffer\Exception\ClosedException $closed) {
                echo str_contains($closed->getMessage(), 'user_id') ? 'named ' : $closed->getMessage();
            }
            echo json_encode([$buffer->flush()->isSuccess(), count($buffer), $buffer->getStats()['halted'] !== null]);
            PHP);
        self::assertSame('[false,0,2] named named [false,2,true]', $child->stdout(), $child->output());
        self::assertMatchesRegularExpression('/write_buffer: 2 row/', $child->stderr());
        self::assertSame(0, Database::count('orders'));
    }

    public function testAQuarantineThatCannotBeWrittenHalts(): void
    {
        $child = Subprocess::run(<<<'PHP'
            $buffer = new WriteBuffer(1_000_000, 86_400_000, 3, $options + ['journal_dir' => '/proc/no/such/directory']);
            $buffer->addOrder(1, ['user_id' => null, 'status' => 'new', 'quantity' => '1']);
            $result = $buffer->flush();
            echo json_encode([$result->isSuccess(), $result->getPending()]);
            echo str_contains(implode($result->getErrors()), '/proc/no/such/directory') ? ' named ' : implode($result->getErrors());
            try {
                $buffer->addOrder(3, ['status' => 'new']);
            } catch (WriteBuffer\Exception\JournalException $closed) {
                echo str_contains($closed->getMessage(), '/proc/no/such/directory') ? 'named' : $closed->getMessage();
            }
            PHP);
        self::assertSame('[false,1] named named', $child->stdout(), $child->output());
    }

    public function testEveryKindOfRefusalIsOne(): void
    {
        Database::create('wb_checked', 'id BIGINT PRIMARY KEY, n BIGINT NOT NULL CHECK (n > 0), u BIGINT NULL UNIQUE');
        $tables = [
            'checked' => ['mode' => 'upsert', 'table' => 'wb_checked', 'key' => 'id'],
            'appended' => ['mode' => 'insert', 'table' => 'wb_checked'],
            'changed' => ['mode' => 'update', 'table' => 'wb_checked', 'key' => 'id'],
        ];
        $buffer = $this->buffer(['tables' => $tables]);
        $buffer->add('checked', ['id' => 1, 'n' => 1, 'u' => 1]);
        $buffer->add('checked', ['id' => 2, 'n' => -1]);
        $buffer->add('checked', ['id' => 3, 'n' => null]);
        $buffer->add('appended', ['id' => 1, 'n' => 1]);
        $buffer->add('appended', ['n' => null, 'id' => 9]);
        $buffer->add('changed', ['id' => 404, 'n' => 1]);
        $buffer->add('changed', ['id' => 1, 'n' => -7]);
        $buffer->add('checked', ['id' => 4, 'n' => 4, 'u' => 4]);
        $result = $buffer->flush(20_000);
        self::assertSame(6, $result->getQuarantined(), implode("\n", $result->getErrors()));
        self::assertEquals(
            [['id' => 1, 'n' => 1, 'u' => 1], ['id' => 4, 'n' => 4, 'u' => 4]],
            Database::rows('SELECT * FROM wb_checked ORDER BY id')
        );
    }

    public function testASecondUniqueKeyIsNoWayToAnotherRow(): void
    {
        Database::create('wb_emails', 'id BIGINT PRIMARY KEY, email VARCHAR(50) NOT NULL UNIQUE');
        Database::execute("INSERT INTO wb_emails VALUES (1, 'a@x')");
        $buffer = $this->buffer(['tables' => ['emails' => ['mode' => 'upsert', 'table' => 'wb_emails', 'key' => 'id']]]);
        $buffer->add('emails', ['id' => 2, 'email' => 'a@x']);
        $result = $buffer->flush();
        self::assertSame(1, $result->getQuarantined());
        self::assertEquals([['id' => 1, 'email' => 'a@x']], Database::rows('SELECT * FROM wb_emails'));
    }

    public function testDataTooLongIsRefusedNotCut(): void
    {
        Database::create('wb_short', 'id BIGINT PRIMARY KEY, text VARCHAR(5) NOT NULL CHECK (LENGTH(text) <= 5)');
        $buffer = $this->buffer(['tables' => ['short' => ['mode' => 'upsert', 'table' => 'wb_short', 'key' => 'id']]]);
        $buffer->add('short', ['id' => 1, 'text' => 'short']);
        $buffer->add('short', ['id' => 2, 'text' => 'too long']);
        $result = $buffer->flush();
        self::assertSame(1, $result->getQuarantined());
        self::assertSame('short', Database::value('SELECT text FROM wb_short'));
        self::assertSame(1, Database::count('wb_short'));
    }
}
