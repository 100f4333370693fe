<?php

declare(strict_types=1);

namespace App\Spot;

/**
 * new → pending → executing → executed or canceled; `removed` is an order that was refused.
 *
 * An order is accepted and its funds are locked in one atomic group, so `new` is a state that
 * no reader of the database ever sees here.
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

    /** @return list<string> */
    public static function open(): array
    {
        return [self::New->value, self::Pending->value, self::Executing->value];
    }
}
