<?php

declare(strict_types=1);

namespace App\Spot\Worker;

use App\Spot\Decimal;
use App\Spot\Funds\SharedFunds;
use App\Spot\Input\CommandAction;
use App\Spot\Input\Entry;
use App\Spot\Input\OrderCommand;
use App\Spot\Market;
use App\Spot\Orders\KnownOrders;
use App\Spot\Orders\Order;
use App\Spot\Orders\OrderStatus;
use Illuminate\Database\Connection;
use WriteBuffer;

/**
 * Looks at a batch of entries before they are applied: which order ids were used before, and
 * which orders can have their funds reserved in shared accounts, in one transaction for all.
 */
final class Intake implements KnownOrders
{
    /** @var array<string, true> by Order::key() */
    private array $known = [];

    public function __construct(
        private readonly Market $market,
        private readonly WriteBuffer $buffer,
        private readonly Connection $database,
        private readonly SharedFunds $shared,
        private readonly Outages $outages = new Outages(),
    ) {
    }

    /** @param list<Entry> $entries */
    public function prepare(array $entries): void
    {
        // Again from the start: a reservation whose commit was not answered is found as one of an earlier worker.
        $this->outages->outlast($this->database, fn () => $this->look($entries));
    }

    public function isKnown(int $orderId): bool
    {
        return isset($this->known[Order::key($orderId)]);
    }

    public function remember(int $orderId): void
    {
        $this->known[Order::key($orderId)] = true;
    }

    /** @param list<Entry> $entries */
    private function look(array $entries): void
    {
        $commands = $this->placements($entries);
        $ids = array_map(static fn (OrderCommand $command): int => $command->orderId, array_values($commands));
        $this->known = [];

        // The buffer before the database: what is committed in between is then found by the second.
        foreach ($ids as $id) {
            if ($this->buffer->find('orders', $id) !== null) {
                $this->remember($id);
            }
        }

        $reserved = [];

        foreach ($this->stored($ids) as $row) {
            if ($row->status === OrderStatus::New->value && $row->currency === $this->market->currency && $row->coin === $this->market->coin) {
                $reserved[(int) $row->id] = $row->budget === null ? 0 : Decimal::parse((string) $row->budget, Market::AMOUNT_SCALE);
            } else {
                $this->remember((int) $row->id);
            }
        }

        $this->shared->resume($reserved);
        $this->shared->reserveAll(array_values(array_map(
            static fn (OrderCommand $command): Order => CommandProcessor::order($command, 0),
            array_filter($commands, fn (OrderCommand $command): bool => !isset($reserved[$command->orderId]) && !$this->isKnown($command->orderId)),
        )));
    }

    /**
     * Of two entries with the same id only the first can be an order.
     *
     * @param list<Entry> $entries
     * @return array<string, OrderCommand>
     */
    private function placements(array $entries): array
    {
        $commands = [];

        foreach ($entries as $entry) {
            if ($entry->content instanceof OrderCommand && $entry->content->action === CommandAction::Place) {
                $commands[Order::key($entry->content->orderId)] ??= $entry->content;
            }
        }

        return $commands;
    }

    /**
     * @param list<int> $ids
     * @return iterable<object>
     */
    private function stored(array $ids): iterable
    {
        return $ids === [] ? [] : $this->database->table('orders')->whereIn('id', $ids)->get(['id', 'status', 'currency', 'coin', 'budget']);
    }
}
