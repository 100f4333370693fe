<?php

declare(strict_types=1);

namespace App\Spot\Input;

use App\Spot\Exchange;
use App\Spot\Market;
use Illuminate\Contracts\Redis\Factory;
use Redis;
use RuntimeException;

/** The inputs that there are, and the Redis that streams are read from. */
final class InputFactory
{
    public function __construct(
        private readonly Exchange $exchange,
        private readonly Factory $redis,
    ) {
    }

    public function file(string $path, bool $crossing): BitstampFile
    {
        return new BitstampFile($path, new UserHash($this->exchange->users), new Pricing($crossing));
    }

    public function stream(Market $market): RedisStream
    {
        return new RedisStream($market, $this->redis(...));
    }

    public function history(Market $market): StreamHistory
    {
        return new StreamHistory($market, $this->redis());
    }

    /** A connection of its own each time: after a lost one, a new one. */
    public function redis(): Redis
    {
        if (!class_exists(Redis::class)) {
            throw new RuntimeException('Streams need the PHP extension redis (Debian: php-redis).');
        }

        $this->redis->purge('stream');

        return $this->redis->connection('stream')->client();
    }
}
