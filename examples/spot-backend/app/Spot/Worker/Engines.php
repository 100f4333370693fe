<?php

declare(strict_types=1);

namespace App\Spot\Worker;

use App\Spot\Exchange;
use App\Spot\Market;
use Illuminate\Database\Connection;

/** The markets that this process works itself. */
final class Engines
{
    /** What spot_progress calls an input that is nowhere kept. */
    public const INPUT = 'direct';

    /** @var array<string, MarketEngine> by market */
    private array $engines = [];

    public function __construct(
        private readonly Exchange $exchange,
        private readonly Connection $database,
        private readonly WorkerSettings $settings,
        private readonly bool $isDirect,
    ) {
    }

    public function of(Market $market): MarketEngine
    {
        return $this->engines[$market->key()] ??= MarketEngine::start(
            $this->exchange,
            $market,
            $this->database,
            $this->settings,
            self::INPUT,
            false,
        );
    }

    /**
     * Those that are at work here, or are to be: a new request in the same process has none yet,
     * while the buffer still holds what the one before has added.
     *
     * @return array<string, MarketEngine> by market
     */
    public function atWork(): array
    {
        foreach ($this->isDirect ? $this->exchange->markets : [] as $market) {
            try {
                $this->of($market);
            } catch (LeaseHeld) {
                // Another process has it: the database is all that can be seen from here.
            }
        }

        return $this->engines;
    }

    public function forget(Market $market): void
    {
        unset($this->engines[$market->key()]);
    }
}
