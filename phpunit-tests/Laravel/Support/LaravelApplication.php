<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel\Support;

use Illuminate\Contracts\Foundation\Application;
use RuntimeException;
use Symfony\Component\Process\Process;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * A real Laravel application in a directory of its own, with whichever Laravel is installed;
 * the library comes in by package discovery.
 */
final class LaravelApplication
{
    private const SKELETON = __DIR__ . '/../app';
    private const REPOSITORY = __DIR__ . '/../../..';

    public readonly string $directory;
    /** @var list<Process> */
    private array $processes = [];

    public function __construct()
    {
        $this->directory = sys_get_temp_dir() . '/write-buffer-laravel-' . bin2hex(random_bytes(6));
        self::copy((string) realpath(self::SKELETON), $this->directory);
        foreach (['bootstrap/cache', 'storage/logs', 'storage/app', 'storage/framework/views', 'storage/framework/cache', 'database/migrations', 'vendor/composer'] as $directory) {
            mkdir("$this->directory/$directory", 0700, true);
        }
        $library = json_decode((string) file_get_contents(self::REPOSITORY . '/laravel/composer.json'), true);
        $packages = ['packages' => [['name' => $library['name'], 'version' => '1.0.0', 'extra' => $library['extra']]]];
        file_put_contents("$this->directory/vendor/composer/installed.json", json_encode($packages));
        putenv('WRITE_BUFFER_REPOSITORY=' . realpath(self::REPOSITORY));
        putenv("WRITE_BUFFER_APPLICATION=$this->directory");
        require_once "$this->directory/bootstrap/autoload.php";
    }

    public static function isInstalled(): bool
    {
        return is_file(self::REPOSITORY . '/vendor/laravel/framework/composer.json') || stream_resolve_include_path('Illuminate/autoload.php') !== false;
    }

    /**
     * The application in this process, without Laravel's handlers of errors.
     *
     * @param array<string, mixed> $config over the files, before providers are booted
     */
    public function boot(array $config = []): Application
    {
        $app = require "$this->directory/bootstrap/app.php";
        $app->afterBootstrapping(\Illuminate\Foundation\Bootstrap\RegisterProviders::class, static function (Application $app) use ($config): void {
            foreach ($config as $key => $value) {
                $app->make('config')->set($key, $value);
            }
        });
        $app->bootstrapWith([
            \Illuminate\Foundation\Bootstrap\LoadEnvironmentVariables::class,
            \Illuminate\Foundation\Bootstrap\LoadConfiguration::class,
            \Illuminate\Foundation\Bootstrap\RegisterFacades::class,
            \Illuminate\Foundation\Bootstrap\RegisterProviders::class,
            \Illuminate\Foundation\Bootstrap\BootProviders::class,
        ]);
        return $app;
    }

    /**
     * Starts `php artisan …`.
     *
     * @param list<string> $arguments
     * @param array<string, mixed> $config over the files
     * @param array<string, string> $environment
     */
    public function start(array $arguments, array $config = [], array $environment = [], bool $withExtension = true): Process
    {
        return $this->php(['artisan', ...$arguments], $environment + ['TEST_CONFIG' => (string) json_encode((object) $config)], $withExtension);
    }

    /**
     * The same, to its end.
     *
     * @param list<string> $arguments
     * @param array<string, mixed> $config
     * @param array<string, string> $environment
     */
    public function artisan(array $arguments, array $config = [], array $environment = [], bool $withExtension = true): Process
    {
        $process = $this->start($arguments, $config, $environment, $withExtension);
        $process->wait();
        return $process;
    }

    /**
     * @param list<string> $arguments
     * @param array<string, string> $environment
     */
    public function php(array $arguments, array $environment, bool $withExtension = true): Process
    {
        $loading = $withExtension && extension_loaded('write_buffer') ? Subprocess::arguments() : [];
        $process = new Process([PHP_BINARY, ...$loading, ...$arguments], $this->directory, $environment + getenv(), null, 60);
        $process->start();
        return $this->processes[] = $process;
    }

    /** What the application's events were, one a line. */
    public function events(): string
    {
        return (string) @file_get_contents("$this->directory/storage/events.log");
    }

    public function log(): string
    {
        return (string) @file_get_contents("$this->directory/storage/logs/laravel.log");
    }

    public function remove(): void
    {
        foreach ($this->processes as $process) {
            $process->stop(0);
            Subprocess::refuseLeaks($process->getErrorOutput());
        }
        self::delete($this->directory);
    }

    private static function copy(string $from, string $to): void
    {
        mkdir($to, 0700, true);
        foreach (array_diff(scandir($from) ?: throw new RuntimeException("No $from."), ['.', '..']) as $name) {
            is_dir("$from/$name") ? self::copy("$from/$name", "$to/$name") : copy("$from/$name", "$to/$name");
        }
    }

    private static function delete(string $path): void
    {
        foreach (array_diff(scandir($path) ?: [], ['.', '..']) as $name) {
            // A database's own temporary file may go in between.
            is_dir("$path/$name") && !is_link("$path/$name") ? self::delete("$path/$name") : @unlink("$path/$name");
        }
        rmdir($path);
    }
}
