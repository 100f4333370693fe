<?php

declare(strict_types=1);

namespace App\Spot\Worker;

use App\Spot\Input\CommandAction;
use App\Spot\Input\Entry;
use App\Spot\Input\OrderCommand;
use App\Spot\Input\Refusal;
use App\Spot\Orders\KnownOrders;
use App\Spot\Orders\Order;
use App\Spot\Orders\OrderService;
use App\Spot\Orders\Outcome;

/** Applies one entry of the input after the other, and counts what became of them. */
final class CommandProcessor
{
    public readonly Counts $counts;
    private int $lastAtMs = 0;

    public function __construct(
        private readonly OrderService $orders,
        private readonly Progress $progress,
        private readonly ?KnownOrders $known = null,
    ) {
        $this->counts = new Counts();
    }

    /** @return string|null why it was refused, if it was */
    public function apply(Entry $entry): ?string
    {
        $this->progress->events++;
        $this->progress->position = $entry->position;
        $this->counts->events++;
        $content = $entry->content;

        if ($content->atMs < $this->lastAtMs) {
            $this->counts->outOfOrder++;
        }

        $this->lastAtMs = $content->atMs;

        if ($content instanceof Refusal) {
            $this->counts->malformed++;

            return $this->orders->refuse($content->reason, $content->atMs);
        }

        return match ($content->action) {
            CommandAction::Place => $this->place($content),
            CommandAction::Reduce, CommandAction::Cancel => $this->change($content),
        };
    }

    private function place(OrderCommand $command): ?string
    {
        if ($this->known?->isKnown($command->orderId)) {
            $this->counts->refused++;

            return $this->orders->refuse("order {$command->orderId} was placed before", $command->atMs);
        }

        $order = self::order($command, $this->progress->events);
        $refusal = $this->orders->place($order);
        $this->known?->remember($command->orderId);

        if ($refusal !== null) {
            $this->counts->refused++;

            return $refusal;
        }

        $this->counts->placed++;
        $this->counts->matches += $this->orders->match($order);

        return null;
    }

    /** @param int $event its number; 0 while it has none */
    public static function order(OrderCommand $command, int $event): Order
    {
        return new Order(
            $command->orderId,
            $command->userId,
            $command->side,
            $command->price,
            $command->quantity,
            $event,
            $command->atMs,
            $command->type,
            $command->ioc,
        );
    }

    private function change(OrderCommand $command): ?string
    {
        $isCancel = $command->action === CommandAction::Cancel;
        $outcome = $isCancel
            ? $this->orders->cancel($command->orderId, $command->atMs, $command->userId)
            : $this->orders->reduce($command->orderId, $command->quantity, $command->atMs);

        match ($outcome) {
            Outcome::Done => $isCancel ? $this->counts->cancelled++ : $this->counts->reduced++,
            Outcome::Unchanged => $this->counts->unchanged++,
            Outcome::Late => $this->counts->late++,
            Outcome::Unknown => $this->counts->unknown++,
            Outcome::Foreign => $this->counts->foreign++,
        };

        if ($outcome === Outcome::Unchanged || $outcome === Outcome::Late) {
            $this->orders->skip($command->atMs);
        }

        return match ($outcome) {
            Outcome::Unknown => $this->orders->refuse("order {$command->orderId} was never placed", $command->atMs),
            Outcome::Foreign => $this->orders->refuse("order {$command->orderId} is another user's", $command->atMs),
            default => null,
        };
    }
}
