<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Console;

use Illuminate\Console\Command;

final class InstallCommand extends Command
{
    protected $signature = 'write-buffer:install {--force : Overwrite config/write-buffer.php, and migrate in production}';
    protected $description = 'Publish the config file, migrate, and check everything';

    public function handle(): int
    {
        $force = (bool) $this->option('force');
        $this->call('vendor:publish', ['--tag' => 'write-buffer-config', '--force' => $force]);
        $status = $this->call('migrate', ['--force' => $force]);
        return $status === self::SUCCESS ? $this->call('write-buffer:doctor') : $status;
    }
}
