<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * Threads of one process, each with requests of its own, and one named buffer between them.
 * scripts/matrix/zts.sh runs it with a thread-safe PHP and the program of threads.c.
 */
final class ThreadsTest extends DatabaseTestCase
{
    private const OPEN = <<<'PHP'
        [, $thread, $request, $directory] = $argv;
        [$thread, $request] = [(int) $thread, (int) $request];
        // Goes on when another thread has said so.
        $await = function (string $what) use ($directory): void {
            for ($i = 0; !file_exists("$directory/$what"); $i++) {
                $i < 10_000 || throw new Exception("nobody said $what");
                usleep(1_000);
                clearstatcache();
            }
        };
        $say = fn (string $what) => touch("$directory/$what");
        $buffer = WriteBuffer::open('threads', $options + ['flush_interval_ms' => 20]);

        PHP;

    public function testEachRowOfEachThreadIsWrittenOnceAndSumsAreExact(): void
    {
        Database::createAccount(1, 'usd');
        $output = $this->threads(8, 5, <<<'PHP'
            $sequences = [];
            for ($i = 0; $i < 500; $i++) {
                $match = 1 + $i + 500 * ($request + 5 * $thread);
                $sequences[] = $buffer->add('trades', trade($match));
                $buffer->addBalanceUpdate(1, 'usd', ['balance' => '0.000000000000000001']);
            }
            for ($i = 1; $i < 500; $i++) $sequences[$i] > $sequences[$i - 1] || throw new Exception('a sequence went back');
            PHP);
        self::assertSame('', $output);
        self::assertSame(range(1, 20_000), self::writtenMatches());
        self::assertDecimal('0.00000000000002', Database::value('SELECT balance FROM spot_usd_accounts WHERE id = 1'));
    }

    public function testASequenceNumberIsGivenOnce(): void
    {
        $output = $this->threads(6, 1, <<<'PHP'
            for ($numbers = '', $i = 0; $i < 1_000; $i++) $numbers .= $buffer->add('trades', trade(1 + $i + 1_000 * $thread)) . "\n";
            echo $numbers;
            PHP);
        $numbers = array_map('intval', explode("\n", trim($output)));
        sort($numbers);
        self::assertSame(range(1, 6_000), $numbers);
        self::assertSame(range(1, 6_000), self::writtenMatches());
    }

    public function testATransactionIsTheThreadsThatBeganIt(): void
    {
        $output = $this->threads(2, 1, <<<'PHP'
            if ($thread === 0) {
                $buffer->beginTransaction();
                $buffer->addTrade(trade(1));
                $say('begun');
                $await('written');
                $buffer->addTrade(trade(2));
                $buffer->rollBack();
            } else {
                $await('begun');
                $buffer->find('trades', ['match_id' => 1]) === null || throw new Exception('it saw the row of another thread');
                $buffer->addTrade(trade(11));
                $buffer->transaction(fn ($b) => [$b->addTrade(trade(12)), $b->addTrade(trade(13))]);
                $buffer->flush()->isSuccess() || throw new Exception('not written');
                $say('written');
            }
            PHP, ['tables' => ['trades' => ['unique' => 'match_id']]]);
        self::assertSame('', $output);
        self::assertSame([11, 12, 13], self::writtenMatches());
    }

    public function testTheEndOfARequestLeavesTheTransactionOfAnotherThreadOpen(): void
    {
        $output = $this->threads(2, 1, <<<'PHP'
            if ($thread === 0) {
                $buffer->beginTransaction();
                $buffer->addTrade(trade(1));
                $say('begun');
                $await('ended');
                usleep(50_000);
                $buffer->addTrade(trade(2));
                $buffer->commit();
            } else {
                $await('begun');
                $buffer->beginTransaction();
                $buffer->addTrade(trade(11));
                $say('ended');
            }
            PHP);
        self::assertStringContainsString('1 row(s) in it were rolled back', $output);
        self::assertSame(1, substr_count($output, 'rolled back'));
        self::assertSame([1, 2], self::writtenMatches());
    }

    public function testTransactionsOfManyThreadsAreWhole(): void
    {
        $output = $this->threads(6, 3, <<<'PHP'
            for ($i = 0; $i < 60; $i++) {
                $match = 1 + 5 * ($i + 60 * ($request + 3 * $thread));
                try {
                    $buffer->transaction(function ($buffer) use ($match, $i) {
                        for ($n = 0; $n < 5; $n++) $buffer->addTrade(trade($match + $n));
                        $i % 3 || throw new DomainException('no');
                    });
                } catch (DomainException) {
                }
            }
            PHP);
        self::assertSame('', $output);
        $expected = [];
        for ($group = 0; $group < 6 * 3 * 60; $group++) {
            $group % 60 % 3 === 0 || array_push($expected, ...range(1 + 5 * $group, 5 + 5 * $group));
        }
        self::assertSame($expected, self::writtenMatches());
    }

    public function testRowsOfChangingShapesKeepTheirValues(): void
    {
        $output = $this->threads(6, 20, <<<'PHP'
            // Names made anew in each request: the addresses of one request's are another's of the next.
            $names = ['match_id', 'price', 'quantity', 'buy_order_id', 'sell_order_id'];
            for ($i = 0; $i < 40; $i++) {
                $match = 1 + $i + 40 * ($request + 20 * $thread);
                $row = ['match_id' => $match, 'price' => "$match.5", 'quantity' => $match];
                if ($i % 3) eval('$row = ["price" => "$match.5", "buy_order_id" => $match + 1, "quantity" => $match, "match_id" => $match];');
                if ($i % 5 === 0) $row = array_combine(array_map(fn ($name) => substr("x$name", 1), array_keys($row)), $row);
                $buffer->addTrade($row);
            }
            PHP);
        self::assertSame('', $output);
        self::assertSame(range(1, 4_800), self::writtenMatches());
        self::assertSame(0, (int) Database::value('SELECT COUNT(*) FROM order_transactions WHERE price <> match_id + 0.5 OR quantity <> match_id OR buy_order_id <> match_id + 1'));
    }

    public function testAThreadThatFailsDoesNotHarmTheOthers(): void
    {
        $output = $this->threads(6, 4, <<<'PHP'
            for ($i = 0; $i < 50; $i++) $buffer->addTrade(trade(1 + $i + 50 * ($request + 4 * $thread)));
            if ($thread === 1) throw new DomainException('thrown on purpose');
            if ($thread === 2) { ini_set('memory_limit', '16M'); str_repeat('x', 1 << 30); }
            if ($thread === 3) exit(3);
            PHP, [], 1);
        self::assertSame(4, substr_count($output, 'Uncaught DomainException: thrown on purpose'), $output);
        self::assertSame(4, substr_count($output, 'Allowed memory size'), $output);
        self::assertSame(range(1, 1_200), self::writtenMatches());
    }

    public function testABufferClosedByOneThreadRefusesTheOthersAndLosesNothing(): void
    {
        $output = $this->threads(4, 1, <<<'PHP'
            $say("opened-$thread");
            array_map(fn ($other) => $await("opened-$other"), range(0, 3));
            $accepted = 0;
            try {
                for ($i = 0; $i < 100_000; $i++) {
                    $buffer->addTrade(trade(1 + $i + 100_000 * $thread));
                    $accepted++;
                    if ($thread === 3 && $i === 300) $buffer->close();
                }
            } catch (WriteBuffer\Exception\ClosedException) {
                echo "$thread $accepted\n";
            }
            PHP);
        $expected = [];
        foreach (explode("\n", trim($output)) as $line) {
            self::assertMatchesRegularExpression('/^[0-3] \d+$/', $line, $output);
            [$thread, $accepted] = array_map('intval', explode(' ', $line));
            $accepted === 0 || array_push($expected, ...range(1 + 100_000 * $thread, $accepted + 100_000 * $thread));
        }
        sort($expected);
        self::assertSame($expected, self::writtenMatches());
    }

    public function testTheEnvironmentIsReadWhileAnotherThreadChangesIt(): void
    {
        // One thread, in one request: where several put the same names, PHP itself dies (8.2, without any
        // extension, in putenv()): a request's end frees texts that the environment still has.
        $output = $this->threads(6, 1, <<<'PHP'
            $say("started-$thread");
            array_map(fn ($other) => $await("started-$other"), range(0, 5));
            if ($thread === 1) {
                for ($i = 0; $i < 4_000; $i++) putenv("WRITE_BUFFER_TEST_$i=" . str_repeat('x', $i % 90));
                $say('changed');
            }
            for ($i = 0; $thread !== 1 && ($i < 500 || !file_exists("$directory/changed")); $i++) {
                (new WriteBuffer())->getStats()['config']['max_retries'] === 3 || throw new Exception('another setting');
                clearstatcache();
            }
            PHP);
        self::assertSame('', $output);
    }

    public function testPhpMayStartAgainInTheSameProcess(): void
    {
        $output = $this->threads(3, 2, <<<'PHP'
            for ($i = 0; $i < 50; $i++) $buffer->addTrade(['price' => '5', 'quantity' => '1']);
            PHP, [], 0, 3);
        self::assertSame('', $output);
        self::assertSame(3 * 3 * 2 * 50, (int) Database::value('SELECT COUNT(*) FROM order_transactions'));
    }

    /** @param array<string, mixed> $options */
    private function threads(int $threads, int $requests, string $code, array $options = [], int $status = 0, int $starts = 1): string
    {
        $program = (string) getenv('WRITE_BUFFER_THREADS');
        self::assertNotSame('', $program, 'scripts/matrix/zts.sh builds threads.c and names it');
        $directory = $this->newDirectory();
        mkdir($directory, 0700);
        $ini = file_get_contents((string) getenv('WRITE_BUFFER_PHP_INI'))
            . "extension=" . Subprocess::extension() . "\nhtml_errors=0\ndisplay_errors=1\nlog_errors=0\nregister_argc_argv=1\n";
        file_put_contents("$directory/php.ini", $ini);
        $preamble = Subprocess::PREAMBLE . '$options = ' . var_export($options, true) . " + \$options;\n";
        // Compiled anew by each thread, and functions are each request's own.
        file_put_contents("$directory/script.php", $preamble . self::OPEN . $code);
        $child = Subprocess::program(
            [$program, (string) $starts, (string) $threads, (string) $requests, "$directory/php.ini", "$directory/script.php", $directory]
        )->wait(120);
        self::assertSame([$status, null], [$child->exitCode, $child->signal], $child->output());
        self::assertSame('', $child->stderr());
        return $child->stdout();
    }

    /** @return list<int> */
    private static function writtenMatches(): array
    {
        return array_map('intval', array_column(Database::rows('SELECT match_id FROM order_transactions ORDER BY match_id'), 'match_id'));
    }
}
