<?php

declare(strict_types=1);

namespace App\Spot\Orders;

/**
 * new → pending → executing → executed or canceled; `removed` is an order that was refused.
 *
 * `new` is an order whose funds are reserved in accounts that several markets share, before its
 * market has consumed it. Elsewhere an order is accepted and its funds are locked in one atomic
 * group, and no reader of the database ever sees `new`.
 */
enum OrderStatus: string
{
    case New = 'new';
    case Pending = 'pending';
    case Executing = 'executing';
    case Executed = 'executed';
    case Canceled = 'canceled';
    case Removed = 'removed';

    public function isFinal(): bool
    {
        return match ($this) {
            self::Executed, self::Canceled, self::Removed => true,
            self::New, self::Pending, self::Executing => false,
        };
    }

    /** @return list<string> of orders that their market has consumed and that can still be matched */
    public static function inBook(): array
    {
        return [self::Pending->value, self::Executing->value];
    }
}
