<?php

declare(strict_types=1);

namespace App\Spot;

use App\Spot\Input\EventAction;
use App\Spot\Input\OrderEvent;
use App\Spot\Input\Pricing;
use App\Spot\Input\UserHash;

/**
 * Applies one input event after the other.
 *
 * created: a limit order is placed and matched while it crosses.
 * changed: what is left of our order becomes min(ours, the event's volume); the price is not looked at.
 * deleted: the rest is cancelled, if the order is still open.
 */
final class EventProcessor
{
    public readonly EventCounts $counts;
    private int $lastAtMs = 0;

    public function __construct(
        private readonly OrderService $orders,
        private readonly Progress $progress,
        private readonly UserHash $users,
        private readonly Pricing $pricing,
    ) {
        $this->counts = new EventCounts();
    }

    public function apply(int $number, OrderEvent $event): void
    {
        $this->progress->events = $number;
        $this->counts->events++;

        if ($event->atMs < $this->lastAtMs) {
            $this->counts->outOfOrder++;
        }

        $this->lastAtMs = $event->atMs;

        match ($event->action) {
            EventAction::Created => $this->create($number, $event),
            EventAction::Changed => $this->change($event),
            EventAction::Deleted => $this->delete($event),
        };
    }

    private function create(int $number, OrderEvent $event): void
    {
        $order = new Order(
            $event->orderId,
            $this->users->userOf($event->orderId),
            $event->side,
            $this->pricing->priceOf($event),
            $event->volume,
            $number,
            $event->atMs,
        );

        if (!$this->orders->place($order)) {
            $this->counts->refused++;

            return;
        }

        $this->counts->placed++;
        $this->counts->matches += $this->orders->match($order);
    }

    private function change(OrderEvent $event): void
    {
        $outcome = $this->orders->reduce($event->orderId, $event->volume, $event->atMs);

        if ($outcome === Outcome::Done) {
            $this->counts->reduced++;
        } else {
            $this->withoutEffect($outcome, $event);
        }
    }

    private function delete(OrderEvent $event): void
    {
        $outcome = $this->orders->cancel($event->orderId, $event->atMs);

        if ($outcome === Outcome::Done) {
            $this->counts->cancelled++;
        } else {
            $this->withoutEffect($outcome, $event);
        }
    }

    private function withoutEffect(Outcome $outcome, OrderEvent $event): void
    {
        match ($outcome) {
            Outcome::Late => $this->counts->late++,
            Outcome::Unknown => $this->counts->unknown++,
            Outcome::Unchanged, Outcome::Done => $this->counts->unchanged++,
        };

        $this->orders->skip($event->atMs);
    }
}
