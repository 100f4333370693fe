<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Decimal;
use App\Spot\Market;
use App\Spot\Side;
use Generator;
use RuntimeException;
use ValueError;

/**
 * Order events of Bitstamp as ob-analytics records them: CSV, plain or gzip, with the columns
 * id, timestamp (ms), exchange_timestamp, price, volume, action, direction.
 */
final class BitstampFile
{
    private const HEADER = 'id,timestamp,exchange_timestamp,price,volume,action,direction';

    public function __construct(private readonly string $path)
    {
        if (!is_readable($path)) {
            throw new RuntimeException("{$path} cannot be read: bin/fetch-sample fetches the sample");
        }
    }

    /** What spot_progress calls this input. */
    public function name(): string
    {
        return basename($this->path);
    }

    /**
     * @param int $skip number of events that were consumed before
     * @return Generator<int, OrderEvent> by their number, the first is 1
     */
    public function events(int $skip = 0): Generator
    {
        // gzopen reads plain files as they are.
        $file = gzopen($this->path, 'rb') ?: throw new RuntimeException("{$this->path} cannot be opened");

        try {
            $header = gzgets($file);

            if ($header === false || rtrim($header) !== self::HEADER) {
                throw new RuntimeException("{$this->path} does not start with the line " . self::HEADER);
            }

            for ($number = 1; ($line = gzgets($file)) !== false; $number++) {
                if ($number > $skip) {
                    yield $number => $this->event($number, rtrim($line));
                }
            }
        } finally {
            gzclose($file);
        }
    }

    private function event(int $number, string $line): OrderEvent
    {
        $field = explode(',', $line);

        if (count($field) !== 7) {
            throw new RuntimeException("{$this->path}, event {$number}: 7 fields wanted, not " . count($field));
        }

        try {
            return new OrderEvent(
                Decimal::parse($field[0], 0),
                Decimal::parse($field[1], 0),
                Decimal::parse($field[3], Market::PRICE_SCALE),
                Decimal::parse($field[4], Market::QUANTITY_SCALE),
                EventAction::from($field[5]),
                match ($field[6]) {
                    'bid' => Side::Buy,
                    'ask' => Side::Sell,
                },
            );
        } catch (ValueError | \InvalidArgumentException | \OverflowException | \UnhandledMatchError $error) {
            throw new RuntimeException("{$this->path}, event {$number}: {$error->getMessage()}", 0, $error);
        }
    }
}
