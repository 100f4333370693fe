<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Console;

use Illuminate\Console\Command;
use Illuminate\Contracts\Config\Repository;
use WriteBuffer\Exception\WriteBufferException;
use WriteBuffer\Laravel\BufferSettings;
use WriteBuffer\Laravel\Contracts\Buffers;

final class FlushCommand extends Command
{
    protected $signature = 'write-buffer:flush
        {buffer? : Only the buffer of this name}
        {--timeout=60 : Seconds to wait}';
    protected $description = 'Write what processes that died left in their journals; running processes write by themselves';

    public function handle(Buffers $buffers, Repository $config): int
    {
        $timeout = $this->option('timeout');
        if (!is_numeric($timeout) || $timeout < 0) {
            $this->error("--timeout is \"$timeout\"; it takes a number of seconds.");
            return self::INVALID;
        }
        $names = $this->argument('buffer') === null ? BufferSettings::names($config) ?: [BufferSettings::defaultName($config)] : [(string) $this->argument('buffer')];
        $isFine = true;
        foreach ($names as $name) {
            try {
                $buffer = $buffers->buffer($name);
                $result = $buffer->flush((int) ($timeout * 1_000));
            } catch (WriteBufferException $error) {
                $this->error("$name: {$error->getMessage()}");
                $isFine = false;
                continue;
            }
            $recovered = (int) ($buffer->getStats()['journal']['recovered'] ?? 0);
            $this->line("$name: $recovered row(s) recovered from journals, {$result->getPending()} pending.");
            foreach ($result->getErrors() as $error) {
                $this->error("$name: $error");
            }
            $isFine = $isFine && $result->isSuccess();
        }
        return $isFine ? self::SUCCESS : self::FAILURE;
    }
}
