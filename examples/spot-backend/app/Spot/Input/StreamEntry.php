<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Decimal;
use App\Spot\Market;
use App\Spot\Orders\Order;
use App\Spot\Orders\OrderType;
use App\Spot\Orders\Side;
use InvalidArgumentException;
use OverflowException;

/**
 * An entry of a market's Redis stream.
 *
 * place:  action, market, order_id, user_id, side (buy, sell), type (limit, market), quantity,
 *         price (of a limit order), ioc (0, 1; default 0)
 * cancel: action, market, order_id, user_id
 *
 * What is not exactly that is refused with a message. Its time is the one in its stream id.
 */
final class StreamEntry
{
    private const ACCOUNT_MAX = 4_294_967_295;
    private const SHOWN_MAX = 40;

    /** @param array<string, mixed> $fields */
    private function __construct(
        private readonly Market $market,
        private readonly array $fields,
        private readonly int $atMs,
    ) {
    }

    /** @param array<string, mixed>|null $fields null if the stream has lost the entry */
    public static function parse(Market $market, string $id, ?array $fields): Entry
    {
        $atMs = (int) $id;

        if ($fields === null) {
            return new Entry(new Refusal('the entry was removed from the stream before it was consumed', $atMs), $id);
        }

        try {
            return new Entry((new self($market, $fields, $atMs))->command(), $id);
        } catch (InvalidArgumentException | OverflowException $error) {
            return new Entry(new Refusal($error->getMessage(), $atMs), $id);
        }
    }

    private function command(): OrderCommand
    {
        $action = $this->oneOf('action', ['place', 'cancel']);
        $market = $this->text('market');

        if ($market !== $this->market->key()) {
            throw new InvalidArgumentException("market '{$market}' is not {$this->market->key()}, which this stream is of");
        }

        $orderId = $this->integer('order_id', PHP_INT_MAX);

        if (!$this->market->owns($orderId)) {
            throw new InvalidArgumentException("order_id {$orderId} is none of {$market}: it has to be {$this->market->number} modulo " . Market::NUMBERS);
        }

        $userId = $this->integer('user_id', self::ACCOUNT_MAX);

        return $action === 'cancel'
            ? new OrderCommand(CommandAction::Cancel, $orderId, $this->atMs, $userId)
            : $this->placement($orderId, $userId);
    }

    private function placement(int $orderId, int $userId): OrderCommand
    {
        $side = Side::from($this->oneOf('side', ['buy', 'sell']));
        $type = OrderType::from($this->oneOf('type', ['limit', 'market']));

        if ($type === OrderType::Market && isset($this->fields['price'])) {
            throw new InvalidArgumentException('a market order has no price');
        }

        return new OrderCommand(
            CommandAction::Place,
            $orderId,
            $this->atMs,
            $userId,
            $side,
            $type === OrderType::Limit ? $this->positive('price', Market::PRICE_SCALE) : Order::anyPrice($side),
            $this->positive('quantity', Market::QUANTITY_SCALE),
            $type,
            isset($this->fields['ioc']) && $this->oneOf('ioc', ['0', '1']) === '1',
        );
    }

    private function text(string $field): string
    {
        $value = $this->fields[$field] ?? throw new InvalidArgumentException("the field '{$field}' is missing");

        // Money as a float would be something near it.
        if (!is_string($value) && !is_int($value)) {
            throw new InvalidArgumentException("the field '{$field}' has to be a text or an integer, not " . get_debug_type($value));
        }

        // It ends up in messages and in the database, whatever it was.
        $text = mb_scrub((string) $value, 'UTF-8');

        return mb_strlen($text) <= self::SHOWN_MAX ? $text : mb_substr($text, 0, self::SHOWN_MAX) . '…';
    }

    /** @param list<string> $allowed */
    private function oneOf(string $field, array $allowed): string
    {
        $value = $this->text($field);

        return in_array($value, $allowed, true)
            ? $value
            : throw new InvalidArgumentException("{$field} has to be " . implode(' or ', $allowed) . ", not '{$value}'");
    }

    private function integer(string $field, int $max): int
    {
        $value = Decimal::parse($this->text($field), 0);

        return $value > 0 && $value <= $max
            ? $value
            : throw new InvalidArgumentException("{$field} has to be between 1 and {$max}, not {$value}");
    }

    private function positive(string $field, int $scale): int
    {
        $text = $this->text($field);

        return Decimal::parse($text, $scale) > 0
            ? Decimal::parse($text, $scale)
            : throw new InvalidArgumentException("{$field} has to be positive, not {$text}");
    }
}
