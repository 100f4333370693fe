<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use RuntimeException;
use WriteBuffer;
use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Flow\Flow;

/** The extension, each match one atomic group. */
final class Extension implements Peer
{
    private WriteBuffer $buffer;
    private string $directory;

    /** @param array<string, mixed> $options over those of this class */
    public function __construct(private readonly string $journal, private readonly array $options = [])
    {
    }

    public function prepare(Flow $flow): void
    {
        $this->directory = sys_get_temp_dir() . '/write-buffer-bench-' . bin2hex(random_bytes(6));
        mkdir($this->directory, 0700);
        $this->buffer = WriteBuffer::open('bench', $this->options + [
            'dsn' => Database::dsn(),
            'journal' => $this->journal,
            'journal_dir' => $this->directory,
            'flush_timeout_ms' => 600_000,
            'block_timeout_ms' => 600_000,
        ]);
        // Connected, with the schema checked, as the connections of the others are.
        $this->buffer->addBalanceUpdate($flow->users()[0], 'usd', ['balance' => '0']);
        $this->finish();
    }

    public function buffer(): WriteBuffer
    {
        return $this->buffer;
    }

    public function apply(array $group): void
    {
        $buffer = $this->buffer;
        $buffer->beginTransaction();
        foreach ($group as $row) {
            match ($row[0]) {
                'order' => $buffer->addOrder($row[1], $row[2]),
                'trade' => $buffer->addTrade($row[1]),
                'balance' => $buffer->addBalanceUpdate($row[1], $row[2], $row[3]),
            };
        }
        $buffer->commit();
    }

    public function finish(): void
    {
        $result = $this->buffer->flush();
        if (!$result->isSuccess()) {
            throw new RuntimeException('Not everything was written: ' . implode(' ', $result->getErrors()));
        }
    }

    public function facts(): array
    {
        $stats = $this->buffer->getStats();
        $this->buffer->close();
        array_map(rmdir(...), array_reverse(glob("$this->directory/*") ?: []));
        rmdir($this->directory);

        return ['stats' => $stats];
    }
}
