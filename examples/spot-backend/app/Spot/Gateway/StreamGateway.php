<?php

declare(strict_types=1);

namespace App\Spot\Gateway;

use App\Spot\Clock;
use App\Spot\Input\InputFactory;
use App\Spot\Input\RedisStream;
use App\Spot\Input\Refusal;
use App\Spot\Input\StreamEntry;
use App\Spot\Market;
use Redis;
use RedisException;

/** To the market's Redis stream, where its worker reads; for any number of HTTP processes. */
final class StreamGateway implements OrderGateway
{
    private ?Redis $redis = null;

    public function __construct(private readonly InputFactory $inputs)
    {
    }

    public function submit(Market $market, array $fields): Receipt
    {
        $content = StreamEntry::parse($market, Clock::nowMs() . '-0', $fields)->content;

        if ($content instanceof Refusal) {
            return Receipt::refused($content->reason);
        }

        try {
            $this->redis ??= $this->inputs->redis();
            $entry = $this->redis->xAdd(RedisStream::keyOf($market), '*', array_map('strval', $fields));
        } catch (RedisException $error) {
            $this->redis = null;

            throw new StreamAway('Redis does not answer: what was asked for may be done or not. Look before you ask again.', 0, $error);
        }

        return is_string($entry)
            ? Receipt::queued($entry)
            : throw new StreamAway('Redis took no entry for ' . RedisStream::keyOf($market) . '.');
    }
}
