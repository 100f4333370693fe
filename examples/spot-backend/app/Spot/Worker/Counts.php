<?php

declare(strict_types=1);

namespace App\Spot\Worker;

/** What one run made of its events. */
final class Counts
{
    public int $events = 0;
    public int $placed = 0;
    public int $refused = 0;
    public int $reduced = 0;
    public int $cancelled = 0;
    public int $matches = 0;
    /** Changes that would not have made the order smaller. */
    public int $unchanged = 0;
    /** Events for orders that are filled, canceled or refused here. */
    public int $late = 0;
    /** Events for ids that were never created. */
    public int $unknown = 0;
    /** Cancels of an order that is somebody else's. */
    public int $foreign = 0;
    /** Entries that ask for nothing that could be done. */
    public int $malformed = 0;
    /** Events older than the one before them. */
    public int $outOfOrder = 0;
    /** Entries that came again although they were in effect. */
    public int $redelivered = 0;
}
