<?php

declare(strict_types=1);

namespace App\Jobs;

use App\Spot\Exchange;
use App\Spot\Input\InputFactory;
use App\Spot\Worker\LeaseHeld;
use App\Spot\Worker\MarketEngine;
use App\Spot\Worker\Worker;
use App\Spot\Worker\WorkerSettings;
use Illuminate\Bus\Queueable;
use Illuminate\Contracts\Queue\ShouldQueue;
use Illuminate\Database\Connection;
use Illuminate\Foundation\Bus\Dispatchable;
use Illuminate\Queue\InteractsWithQueue;
use Psr\Log\LoggerInterface;
use RuntimeException;

/**
 * Works a market's stream for a while, then queues itself again, so that one market keeps no
 * queue worker for ever.
 *
 * A job that dies is run again when the queue's retry_after is over; one that meets another
 * worker of its market ends, because that one goes on.
 */
final class ProcessOrder implements ShouldQueue
{
    use Dispatchable;
    use InteractsWithQueue;
    use Queueable;

    /** As often as it takes: a market has to be worked. */
    public int $tries = 0;

    public int $backoff = 1;

    /** In seconds: the run and the drain. */
    public int $timeout = 120;

    public bool $failOnTimeout = false;

    /**
     * @param int $runMs    queues itself again after so long
     * @param int|null $idleMs ends when there was nothing new for so long
     */
    public function __construct(
        public readonly string $market,
        public readonly int $runMs = 30_000,
        public readonly ?int $idleMs = null,
        public readonly bool $again = true,
    ) {
    }

    public function handle(Exchange $exchange, InputFactory $inputs, Connection $database, WorkerSettings $defaults, LoggerInterface $log): void
    {
        $market = $exchange->market($this->market);
        $input = $inputs->stream($market);
        $settings = $defaults->until($this->idleMs, $this->runMs);

        try {
            $engine = MarketEngine::start($exchange, $market, $database, $settings, $input->name(), $input->hasUniqueIds());
        } catch (LeaseHeld $held) {
            $log->info("ProcessOrder ends: {$held->getMessage()}");

            return;
        }

        $isStopped = static fn (): bool => app('queue.worker')->shouldQuit;
        $worker = new Worker($engine, $input, $settings, $isStopped);
        $worker->afterEntry(static function ($entry, ?string $refusal) use ($engine, $log): void {
            if ($refusal !== null) {
                $log->warning("Event {$engine->progress->events} of {$engine->market->key()} is refused: {$refusal}");
            }
        });
        $worker->run();
        $drained = $engine->drain();
        $worker->finish();

        if (!$drained->isSuccess() || !$engine->close()->isSuccess()) {
            throw new RuntimeException('The drain failed: ' . implode('; ', $drained->getErrors()));
        }

        if ($this->again) {
            self::dispatch($this->market, $this->runMs, $this->idleMs);
        }
    }
}
