<?php

declare(strict_types=1);

namespace App\Jobs;

use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Queue\InteractsWithQueue;
use RuntimeException;
use WriteBuffer\Laravel\Facades\WriteBuffer;

/** Adds a trade, and then does what it is told. */
final class Act implements ShouldQueue
{
    use InteractsWithQueue;

    public int $tries;
    public int $backoff = 3_600;

    public function __construct(private readonly string $then, private readonly int $match = 1)
    {
        $this->tries = $then === 'throw and retry' ? 2 : 1;
    }

    public function handle(): void
    {
        $trade = ['match_id' => $this->match, 'price' => '5', 'quantity' => '1'];
        if ($this->then === 'forget') {
            WriteBuffer::buffer()->beginTransaction();
        }
        WriteBuffer::buffer()->add('trades', $trade);
        match ($this->then) {
            'throw', 'throw and retry' => throw new RuntimeException('the job failed'),
            'hang' => $this->hang(),
            default => null,
        };
    }

    /** Until the worker's timeout. */
    private function hang(): never
    {
        while (true) {
            usleep(10_000);
        }
    }
}
