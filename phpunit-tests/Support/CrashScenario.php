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
 * from group to group, so that sums tell a group that is missing, doubled or not whole. Of a
 * writer with REFUSE, every so manyeth group is one that the database refuses; with PAD each
 * group has a note of so many bytes, too.
 */
final class CrashScenario
{
    private const GROUPS = <<<'PHP'
        function amount(int $id): string { return sprintf('%d.%018d', $id % 1_000, $id * 7 + 1); }
        function group(WriteBuffer $buffer, int $id): void {
            [$refuse, $pad] = [(int) getenv('REFUSE'), (int) getenv('PAD')];
            $user = $refuse > 0 && $id % $refuse === $refuse - 1 ? null : 7;
            $buffer->beginTransaction();
            $buffer->addTrade(['match_id' => $id, 'price' => '78000.5', 'quantity' => amount($id)]);
            $buffer->addOrder($id, ['user_id' => $user, 'status' => 'executed', 'quantity' => amount($id)]);
            $buffer->addBalanceUpdate(1, 'usd', ['balance' => amount($id), 'available_balance' => amount($id)]);
            $buffer->addBalanceUpdate(2, 'btc', ['balance' => '-' . amount($id)]);
            if ($pad > 0) $buffer->add('notes', ['id' => $id, 'note' => str_repeat('x', $pad)]);
            $buffer->commit();
        }
        function journal(array $more = []): array {
            global $options;
            $mode = getenv('MODE') ?: 'process';
            $more += getenv('PAD') ? ['tables' => ['notes' => ['mode' => 'insert', 'table' => 'wb_crash_notes']]] : [];
            return $more + $options + [
                'journal' => $mode, 'journal_dir' => getenv('DIRECTORY'), 'journal_sync_ms' => 5, 'flush_interval_ms' => 10,
            ];
        }

        PHP;

    /** Notes each group after commit() has returned. With COUNT it ends, if it lives so long. */
    private const WRITE = <<<'PHP'
        $acknowledged = fopen(getenv('ACKNOWLEDGED'), 'a');
        $buffer = WriteBuffer::open('crash', journal());
        [$first, $pause] = [(int) getenv('FIRST'), (int) getenv('PAUSE_US')];
        [$count, $flush] = [(int) getenv('COUNT'), (int) getenv('FLUSH')];
        echo "ready\n";
        for ($id = $first; $id < $first + ($count ?: 20_000); $id++) {
            group($buffer, $id);
            fwrite($acknowledged, "$id\n");
            if ($pause > 0) usleep(mt_rand(0, $pause));
            if ($flush > 0 && $id % $flush === 0) $buffer->flush(20_000);
        }
        $count > 0 ? $buffer->close(20_000) : sleep(60);
        PHP;

    private const RECOVER = <<<'PHP'
        $buffer = WriteBuffer::open('crash', journal());
        echo "ready\n";
        $result = $buffer->flush(20_000);
        echo json_encode([$result->isSuccess(), $result->getErrors(), $buffer->getStats()['quarantined']]);
        PHP;

    private const NOTES = 'wb_crash_notes';

    /** Groups of one writer begin at a multiple of this. */
    private const WRITER = 100_000;

    private int $writers = 0;

    /** @var array<int, int> of each writer, which of its groups are refused */
    private array $refuse = [];

    /** @var array<int, int> of each writer, the length of its notes */
    private array $pad = [];

    public function __construct(public readonly string $directory, private readonly string $mode = 'process')
    {
        if (!is_dir($directory)) {
            mkdir($directory, 0700, true);
        }
        if (self::checkpoints() > 0) {
            Database::execute("DELETE FROM write_buffer_checkpoints WHERE writer LIKE 'crash-%'");
        }
        Database::createSpotTables();
        Database::create(self::NOTES, 'id BIGINT PRIMARY KEY, note LONGTEXT NOT NULL');
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

    /**
     * Starts a process that writes groups until it is killed.
     *
     * @param array<string, string> $environment such as MODE, REFUSE, PAD
     */
    public function writer(int $pauseUs = 100, array $environment = []): Subprocess
    {
        $number = ++$this->writers;
        $this->refuse[$number] = (int) ($environment['REFUSE'] ?? 0);
        $this->pad[$number] = (int) ($environment['PAD'] ?? 0);
        return Subprocess::start(self::script(self::WRITE), $environment + $this->environment() + [
            'ACKNOWLEDGED' => "$this->directory/acknowledged-$number",
            'FIRST' => (string) ($number * self::WRITER),
            'PAUSE_US' => (string) $pauseUs,
        ]);
    }

    /**
     * Starts a process that takes over what dead ones left.
     *
     * @param array<string, string> $environment
     */
    public function recoverer(array $environment = []): Subprocess
    {
        return Subprocess::start(self::script(self::RECOVER), $environment + $this->environment());
    }

    /** Takes over what dead processes left; says what it said. */
    public function recover(): string
    {
        $child = $this->recoverer()->wait(40);
        $result = json_decode(substr($child->stdout(), strlen("ready\n")), true);
        // What is in quarantine is reported, and what is reported is that.
        $isExpected = is_array($result) && ($result[2] > 0 ? $result[0] === false : $result[1] === []);
        if ($child->exitCode !== 0 || !$isExpected) {
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
     * and whole, or, if it is one to refuse, in quarantine instead; and of each killed writer
     * at most the one that it was about to note.
     *
     * @return list<string>
     */
    public function audit(): array
    {
        $wrong = [];
        $written = self::trades();
        if ($written !== self::numbers('SELECT id FROM orders ORDER BY id')) {
            $wrong[] = sprintf('%d trades but %d orders', count($written), Database::count('orders'));
        }
        $noted = array_values(array_filter($written, fn (int $id): bool => ($this->pad[intdiv($id, self::WRITER)] ?? 0) > 0));
        if ($noted !== self::numbers('SELECT id FROM ' . self::NOTES . ' ORDER BY id')) {
            $wrong[] = sprintf('%d trades with notes but %d notes', count($noted), Database::count(self::NOTES));
        }
        [$quarantined, $unreadable] = $this->quarantined();
        array_push($wrong, ...$unreadable, ...$this->misplaced('written', $written, false), ...$this->misplaced('in quarantine', $quarantined, true));
        $beyond = array_fill_keys([...$written, ...$quarantined], true);
        for ($number = 1; $number <= $this->writers; $number++) {
            $accepted = $this->accepted($number);
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
        return [...$wrong, ...self::wrongSums($written)];
    }

    /** Groups in quarantine. */
    public function refused(): int
    {
        return count($this->quarantined()[0]);
    }

    /** @return list<int> */
    private static function numbers(string $sql): array
    {
        return array_map(static fn (array $row): int => (int) reset($row), Database::rows($sql));
    }

    /** @return list<int> groups of a writer that were accepted */
    private function accepted(int $number): array
    {
        $file = "$this->directory/acknowledged-$number";
        return array_map('intval', is_file($file) ? file($file) ?: [] : []);
    }

    /**
     * The groups in the quarantine files, and what is wrong with their lines.
     *
     * @return array{list<int>, list<string>}
     */
    private function quarantined(): array
    {
        [$groups, $wrong] = [[], []];
        foreach (glob("$this->directory/journal/*.jsonl") ?: [] as $file) {
            foreach (file($file) ?: [] as $line) {
                $rows = json_decode($line, true)['rows'] ?? [];
                $id = $rows[0]['row']['match_id'] ?? 0;
                $groups[] = $id;
                if (count($rows) !== 4 + (int) (($this->pad[intdiv($id, self::WRITER)] ?? 0) > 0)) {
                    $wrong[] = "in quarantine is no whole group: $line";
                }
            }
        }
        return [$groups, $wrong];
    }

    /**
     * Groups that are somewhere more than once, or that should not be there.
     *
     * @param list<int> $groups
     * @return list<string>
     */
    private function misplaced(string $where, array $groups, bool $areRefused): array
    {
        $wrong = [];
        $doubled = array_keys(array_filter(array_count_values($groups), static fn (int $times): bool => $times > 1));
        if ($doubled !== []) {
            $wrong[] = sprintf('%d groups are %s more than once, the first is %d', count($doubled), $where, $doubled[0]);
        }
        foreach ($groups as $id) {
            $refuse = $this->refuse[intdiv($id, self::WRITER)] ?? 0;
            if (($refuse > 0 && $id % $refuse === $refuse - 1) !== $areRefused) {
                $wrong[] = "group $id is $where";
            }
        }
        return $wrong;
    }

    /**
     * Groups whose trades are written.
     *
     * @return list<int>
     */
    public static function trades(): array
    {
        return self::numbers('SELECT match_id FROM order_transactions ORDER BY match_id');
    }

    /**
     * Groups that are written, if the sums say that each is there whole and once.
     *
     * @return list<int>
     */
    public static function written(): array
    {
        $wrong = self::wrongSums(self::trades());
        return $wrong === [] ? self::trades() : throw new RuntimeException(implode('; ', $wrong));
    }

    /**
     * @param list<int> $written
     * @return list<string>
     */
    public static function wrongSums(array $written): array
    {
        [$wrong, $sum] = [[], '0'];
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
        return $wrong;
    }

    /** Removes the scenario's files. */
    public function remove(): void
    {
        self::removeTree($this->directory);
        Database::drop(self::NOTES);
    }

    public static function removeTree(string $path): void
    {
        foreach (is_dir($path) && !is_link($path) ? array_diff(scandir($path) ?: [], ['.', '..']) : [] as $entry) {
            self::removeTree("$path/$entry");
        }
        is_dir($path) && !is_link($path) ? @rmdir($path) : @unlink($path);
    }
}
