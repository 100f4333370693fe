<?php

declare(strict_types=1);

namespace App\Spot\Worker;

use App\Spot\Input\Entry;
use App\Spot\Input\Input;
use Closure;

/** The loop of one market: reads entries, applies them, gives back to the input what is committed. */
final class Worker
{
    /** Entries between two looks at the clock, the lease and what is committed. */
    private const ENTRIES_PER_READ = 256;

    private const NS_PER_MS = 1_000_000;

    /** @var Closure(Entry, ?string): void */
    private Closure $onEntry;

    /** @var Closure(): void */
    private Closure $onLook;

    /** @param Closure(): bool $isStopped asked before every entry */
    public function __construct(
        private readonly MarketEngine $engine,
        private readonly Input $input,
        private readonly WorkerSettings $settings,
        private readonly Closure $isStopped,
    ) {
        $this->onEntry = static function (): void {
        };
        $this->onLook = static function (): void {
        };
    }

    /** @param Closure(Entry, ?string): void $do with each entry when it is applied, and why it was refused */
    public function afterEntry(Closure $do): void
    {
        $this->onEntry = $do;
    }

    /** @param Closure(): void $do now and then */
    public function afterLook(Closure $do): void
    {
        $this->onLook = $do;
    }

    public function run(): void
    {
        $this->input->open($this->engine->progress);
        $startedNs = $lastEntryNs = hrtime(true);

        while (!$this->isDone($startedNs, $lastEntryNs) && ($entries = $this->input->read($this->readMax())) !== null) {
            $this->engine->prepare($entries);
            $lastEntryNs = $this->apply($entries) > 0 ? hrtime(true) : $lastEntryNs;
            $this->engine->beat();
            $this->input->acknowledge($this->engine->committedSequence());
            ($this->onLook)();
        }
    }

    /** Acknowledges what a drain has committed. */
    public function finish(): void
    {
        $this->input->acknowledge($this->engine->committedSequence());
    }

    /** @param list<Entry> $entries */
    private function apply(array $entries): int
    {
        foreach ($entries as $entry) {
            if (($this->isStopped)()) {
                break;
            }

            $refusal = $this->engine->apply($entry);
            $this->input->consumed($entry, $this->engine->sequence());
            ($this->onEntry)($entry, $refusal);
        }

        return count($entries);
    }

    private function isDone(int $startedNs, int $lastEntryNs): bool
    {
        $nowNs = hrtime(true);

        return ($this->isStopped)()
            || $this->readMax() === 0
            || $this->settings->idleMs !== null && $nowNs - $lastEntryNs >= $this->settings->idleMs * self::NS_PER_MS
            || $this->settings->runMs !== null && $nowNs - $startedNs >= $this->settings->runMs * self::NS_PER_MS;
    }

    private function readMax(): int
    {
        return $this->settings->entriesMax === null
            ? self::ENTRIES_PER_READ
            : min(self::ENTRIES_PER_READ, $this->settings->entriesMax - $this->engine->counts->events);
    }
}
