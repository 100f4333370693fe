<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Decimal;
use App\Spot\Market;
use App\Spot\Orders\Side;
use App\Spot\Worker\Progress;
use InvalidArgumentException;
use OverflowException;
use RuntimeException;

/**
 * Order events of Bitstamp as ob-analytics records them: CSV, plain or gzip, with the columns
 * id, timestamp (ms), exchange_timestamp, price, volume, action, direction.
 *
 * created: a limit order is placed. changed: what is left of it becomes the event's volume, if
 * that is less; the price is not looked at. deleted: the rest is cancelled.
 */
final class BitstampFile implements Input
{
    private const HEADER = 'id,timestamp,exchange_timestamp,price,volume,action,direction';
    private const FIELDS = 7;

    /** @var resource|null */
    private $file = null;

    /** Time of the last event, for a line that has none. */
    private int $lastAtMs = 0;

    public function __construct(
        private readonly string $path,
        private readonly UserHash $users,
        private readonly Pricing $pricing,
    ) {
        if (!is_file($path) || !is_readable($path)) {
            throw new RuntimeException("{$path} cannot be read: bin/fetch-sample fetches the sample");
        }
    }

    public function __destruct()
    {
        if ($this->file !== null) {
            gzclose($this->file);
        }
    }

    public function name(): string
    {
        return basename($this->path) . $this->pricing->suffix();
    }

    public function open(Progress $progress): void
    {
        // gzopen reads plain files as they are.
        $this->file = gzopen($this->path, 'rb') ?: throw new RuntimeException("{$this->path} cannot be opened");
        $header = gzgets($this->file);

        if ($header === false || rtrim($header) !== self::HEADER) {
            throw new RuntimeException("{$this->path} does not start with the line " . self::HEADER);
        }

        for ($number = 1; $number <= $progress->events; $number++) {
            if (gzgets($this->file) === false) {
                throw new RuntimeException("{$this->path} ends before event {$progress->events}, which was consumed: it is another file");
            }
        }
    }

    public function read(int $limit): ?array
    {
        $entries = [];

        while (count($entries) < $limit && ($line = gzgets($this->file)) !== false) {
            $entries[] = new Entry($this->content(rtrim($line)));
        }

        return $entries === [] ? null : $entries;
    }

    public function consumed(Entry $entry, int $sequence): void
    {
    }

    public function acknowledge(int $committedSequence): void
    {
    }

    public function hasUniqueIds(): bool
    {
        return true;
    }

    private function content(string $line): OrderCommand|Refusal
    {
        $field = explode(',', $line);

        try {
            return count($field) === self::FIELDS
                ? $this->command($field)
                : throw new InvalidArgumentException(self::FIELDS . ' fields wanted, not ' . count($field));
        } catch (InvalidArgumentException | OverflowException $error) {
            return new Refusal($error->getMessage(), $this->lastAtMs);
        }
    }

    /** @param array<int, string> $field */
    private function command(array $field): OrderCommand
    {
        $id = Decimal::parse($field[0], 0);
        $atMs = Decimal::parse($field[1], 0);
        $price = Decimal::parse($field[3], Market::PRICE_SCALE);
        $volume = Decimal::parse($field[4], Market::QUANTITY_SCALE);
        $side = match ($field[6]) {
            'bid' => Side::Buy,
            'ask' => Side::Sell,
            default => throw new InvalidArgumentException("the direction has to be bid or ask, not '{$field[6]}'"),
        };
        $command = match ($field[5]) {
            'created' => new OrderCommand(
                CommandAction::Place,
                $id,
                $atMs,
                $this->users->userOf($id),
                $side,
                $this->pricing->priceOf($id, $side, $price),
                $volume,
            ),
            'changed' => new OrderCommand(CommandAction::Reduce, $id, $atMs, quantity: $volume),
            'deleted' => new OrderCommand(CommandAction::Cancel, $id, $atMs),
            default => throw new InvalidArgumentException("the action has to be created, changed or deleted, not '{$field[5]}'"),
        };
        $this->lastAtMs = $atMs;

        return $command;
    }
}
