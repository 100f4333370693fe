<?php

declare(strict_types=1);

namespace App\Spot\Orders;

/** What became of a change to an order. */
enum Outcome
{
    case Done;
    /** The order is smaller already. */
    case Unchanged;
    /** The order is executed, canceled or removed: a final status never changes back. */
    case Late;
    /** There was never such an order. */
    case Unknown;
    /** The order is another user's. */
    case Foreign;
}
