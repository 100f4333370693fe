<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Status;

use WriteBuffer\Laravel\Buffer;

/**
 * A directory with one small file a process: its buffers' figures as of its last drain.
 *
 * Files are replaced as a whole and are for their owner alone; a process removes its own at
 * an orderly end, and whoever reads removes those of dead ones. A board that cannot be
 * written never disturbs the application; the doctor says so.
 */
final class Board
{
    private float $publishedAt = 0.0;
    private ?string $own = null;

    /** @param string|null $directory null: nothing is published */
    public function __construct(private readonly ?string $directory, private readonly int $everyMs)
    {
    }

    /** @param array<string, Buffer> $buffers */
    public function publish(array $buffers, bool $now = false): void
    {
        $time = hrtime(true) / 1e6;
        if ($this->directory === null || $buffers === [] || (!$now && $time - $this->publishedAt < $this->everyMs)) {
            return;
        }
        $this->publishedAt = $time;
        $status = ProcessStatus::own(array_map(static fn (Buffer $buffer): array => $buffer->getStats(), $buffers));
        $file = "$this->directory/$status->pid-$status->started.json";
        if ($this->own !== $file) {
            $this->begin($file);
        }
        $json = json_encode($status->toArray(), JSON_INVALID_UTF8_SUBSTITUTE | JSON_PARTIAL_OUTPUT_ON_ERROR);
        // The temporary name is this process's own as well: nobody else writes to it.
        $umask = umask(0077);
        $written = @file_put_contents("$file.tmp", $json) !== false;
        umask($umask);
        if (!$written || !@rename("$file.tmp", $file)) {
            @unlink("$file.tmp");
        }
    }

    public function read(): Reading
    {
        $processes = [];
        $unreadable = [];
        $entries = $this->directory === null ? [] : (@scandir($this->directory) ?: []);
        foreach (preg_grep('/^\d+-\d+\.json$/D', $entries) ?: [] as $name) {
            $file = "$this->directory/$name";
            $json = @file_get_contents($file);
            if ($json === false) {
                // It may have gone since it was listed.
                clearstatcache(true, $file);
                array_push($unreadable, ...(is_file($file) ? [$file] : []));
                continue;
            }
            $status = ProcessStatus::parse($json);
            if ($status !== null && $status->host !== gethostname()) {
                continue;
            }
            if ($status?->isAlive()) {
                $processes[] = $status;
            } else {
                @unlink($file);
            }
        }
        return new Reading($processes, $unreadable);
    }

    /** At an orderly end, and only by the process whose file it is. */
    public function withdraw(): void
    {
        if ($this->own !== null && str_starts_with(basename($this->own), getmypid() . '-')) {
            @unlink($this->own);
            $this->own = null;
        }
    }

    private function begin(string $file): void
    {
        if (!is_dir((string) $this->directory)) {
            @mkdir((string) $this->directory, 0700, true);
        }
        // What processes left that were killed goes when the next one comes.
        $this->read();
        $this->own = $file;
        if (PHP_SAPI === 'cli') {
            register_shutdown_function($this->withdraw(...));
        }
    }
}
