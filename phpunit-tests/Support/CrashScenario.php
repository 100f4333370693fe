<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use PDOException;
use RuntimeException;

/**
 * Processes that write atomic groups through one journal and are killed, and an oracle
 * outside of them: the files in which they note each group that was accepted.
 *
 * A group is a trade, an order and two balance deltas with 18 decimals. The amounts differ
 * from group to group, so that sums tell a group that is missing, doubled or not whole.
 */
final class CrashScenario
{
    private const GROUPS = <<<'PHP'
        function amount(int $id): string { return sprintf('%d.%018d', $id % 1_000, $id * 7 + 1); }
        function group(WriteBuffer $buffer, int $id): void {
            $buffer->beginTransaction();
            $buffer->addTrade(['match_id' => $id, 'price' => '78000.5', 'quantity' => amount($id)]);
            $buffer->addOrder($id, ['user_id' => 7, 'status' => 'executed', 'quantity' => amount($id)]);
            $buffer->addBalanceUpdate(1, 'usd', ['balance' => amount($id), 'available_balance' => amount($id)]);
            $buffer->addBalanceUpdate(2, 'btc', ['balance' => '-' . amount($id)]);
            $buffer->commit();
        }
        function journal(array $more = []): array {
            global $options;
            $mode = getenv('MODE') ?: 'process';
            return $more + $options + ['journal' => $mode, 'journal_dir' => getenv('DIRECTORY'), 'flush_interval_ms' => 10];
        }

        PHP;

    /** Notes each group after commit() has returned. */
    private const WRITE = <<<'PHP'
        $acknowledged = fopen(getenv('ACKNOWLEDGED'), 'a');
        $buffer = WriteBuffer::open('crash', journal());
        [$first, $pause] = [(int) getenv('FIRST'), (int) getenv('PAUSE_US')];
        echo "ready\n";
        for ($id = $first; $id < $first + 20_000; $id++) {
            group($buffer, $id);
            fwrite($acknowledged, "$id\n");
            if ($pause > 0) usleep(mt_rand(0, $pause));
        }
        sleep(60);
        PHP;

    private const RECOVER = <<<'PHP'
        $buffer = WriteBuffer::open('crash', journal());
        echo "ready\n";
        $result = $buffer->flush(20_000);
        echo json_encode([$result->isSuccess(), $result->getErrors(), $buffer->getStats()['quarantined']]);
        PHP;

    /** Groups of one writer begin at a multiple of this. */
    private const WRITER = 100_000;

    private int $writers = 0;

    public function __construct(public readonly string $directory, private readonly string $mode = 'process')
    {
        if (!is_dir($directory)) {
            mkdir($directory, 0700, true);
        }
        if (self::checkpoints() > 0) {
            Database::execute("DELETE FROM write_buffer_checkpoints WHERE writer LIKE 'crash-%'");
        }
        Database::createSpotTables();
        Database::createAccount(1, 'usd');
        Database::createAccount(2, 'btc');
    }

    /** What scripts of this scenario begin with: group(), journal(). */
    public static function script(string $code): string
    {
        return self::GROUPS . $code;
    }

    /**
     * What such a script finds in its environment.
     *
     * @return array<string, string>
     */
    public function environment(): array
    {
        return ['DIRECTORY' => "$this->directory/journal", 'MODE' => $this->mode];
    }

    /** Starts a process that writes groups until it is killed. */
    public function writer(int $pauseUs = 100): Subprocess
    {
        $number = ++$this->writers;
        return Subprocess::start(self::script(self::WRITE), $this->environment() + [
            'ACKNOWLEDGED' => "$this->directory/acknowledged-$number",
            'FIRST' => (string) ($number * self::WRITER),
            'PAUSE_US' => (string) $pauseUs,
        ]);
    }

    /** Starts a process that takes over what dead ones left. */
    public function recoverer(): Subprocess
    {
        return Subprocess::start(self::script(self::RECOVER), $this->environment());
    }

    /** Takes over what dead processes left; says what it said. */
    public function recover(): string
    {
        $child = $this->recoverer()->wait(40);
        if ($child->exitCode !== 0 || $child->stdout() !== "ready\n[true,[],0]") {
            throw new RuntimeException('The recovery failed: ' . $child->output());
        }
        return $child->stderr();
    }

    /**
     * Directories of writers in the journal.
     *
     * @return list<string>
     */
    public function journals(): array
    {
        return glob("$this->directory/journal/crash/*") ?: [];
    }

    /** Checkpoints of this scenario's writers in the database. */
    public static function checkpoints(): int
    {
        try {
            return (int) Database::value("SELECT COUNT(*) FROM write_buffer_checkpoints WHERE writer LIKE 'crash-%'");
        } catch (PDOException) {
            // Nobody has connected yet.
            return 0;
        }
    }

    /**
     * Counts what was accepted in all.
     */
    public function acknowledged(): int
    {
        $files = array_map(static fn (string $f): int => count(file($f) ?: []), glob("$this->directory/acknowledged-*") ?: []);
        return array_sum($files);
    }

    /**
     * What is wrong in the database; nothing if each accepted group is there exactly once
     * and whole, and of each killed writer at most the one that it was about to note.
     *
     * @return list<string>
     */
    public function audit(): array
    {
        $wrong = [];
        $written = array_map('intval', array_column(Database::rows('SELECT match_id FROM order_transactions ORDER BY match_id'), 'match_id'));
        $orders = array_map('intval', array_column(Database::rows('SELECT id FROM orders ORDER BY id'), 'id'));
        if ($written !== $orders) {
            $wrong[] = sprintf('%d trades but %d orders', count($written), count($orders));
        }
        $beyond = array_fill_keys($written, true);
        if (count($beyond) !== count($written)) {
            $wrong[] = 'a trade is there twice';
        }
        for ($number = 1; $number <= $this->writers; $number++) {
            $file = "$this->directory/acknowledged-$number";
            $accepted = array_map('intval', is_file($file) ? file($file) ?: [] : []);
            $missing = array_filter($accepted, static fn (int $id): bool => !isset($beyond[$id]));
            if ($missing !== []) {
                $wrong[] = sprintf('writer %d: %d of %d accepted groups are missing, the first is %d', $number, count($missing), count($accepted), reset($missing));
            }
            $next = ($accepted === [] ? $number * self::WRITER - 1 : max($accepted)) + 1;
            foreach ([...$accepted, $next] as $id) {
                unset($beyond[$id]);
            }
        }
        if ($beyond !== []) {
            $wrong[] = sprintf('%d groups are there that nobody wrote, the first is %d', count($beyond), array_key_first($beyond));
        }
        $sum = '0';
        foreach ($written as $id) {
            $sum = bcadd($sum, sprintf('%d.%018d', $id % 1_000, $id * 7 + 1), 18);
        }
        $usd = Database::rows('SELECT balance, available_balance FROM spot_usd_accounts WHERE id = 1')[0];
        $btc = (string) Database::value('SELECT balance FROM spot_btc_accounts WHERE id = 2');
        $sums = ['usd' => $usd['balance'], 'usd available' => $usd['available_balance'], 'btc' => bcmul($btc, '-1', 18)];
        foreach ($sums as $name => $found) {
            if (bccomp($sum, (string) $found, 18) !== 0) {
                $wrong[] = "$name is $found, the groups make $sum";
            }
        }
        $quarantine = glob("$this->directory/journal/*.jsonl") ?: [];
        return $quarantine === [] ? $wrong : [...$wrong, 'rows are in quarantine: ' . implode(', ', $quarantine)];
    }

    /** Removes the scenario's files. */
    public function remove(): void
    {
        self::removeTree($this->directory);
    }

    public static function removeTree(string $path): void
    {
        foreach (is_dir($path) && !is_link($path) ? array_diff(scandir($path) ?: [], ['.', '..']) : [] as $entry) {
            self::removeTree("$path/$entry");
        }
        is_dir($path) && !is_link($path) ? @rmdir($path) : @unlink($path);
    }
}
