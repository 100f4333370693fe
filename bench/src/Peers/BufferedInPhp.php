<?php

declare(strict_types=1);

namespace WriteBuffer\Bench\Peers;

use WriteBuffer\Bench\Database;
use WriteBuffer\Bench\Flow\Flow;

/** A worker that uses the PHP buffer as the exchange did: it flushes between matches. */
final class BufferedInPhp implements Peer
{
    private PhpBuffer $buffer;

    public function __construct(private readonly int $size)
    {
    }

    public function prepare(Flow $flow): void
    {
        $this->buffer = new PhpBuffer(Database::pdo(true), $this->size);
    }

    public function apply(array $group): void
    {
        foreach ($group as $row) {
            match ($row[0]) {
                'order' => $this->buffer->addOrder($row[1], $row[2]),
                'trade' => $this->buffer->addTrade($row[1]),
                'balance' => $this->buffer->addBalanceUpdate($row[1], $row[2], $row[3]),
            };
        }
        if ($this->buffer->shouldFlush()) {
            $this->buffer->flush();
        }
    }

    public function finish(): void
    {
        $this->buffer->flush();
    }

    public function facts(): array
    {
        return [];
    }
}
