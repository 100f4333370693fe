<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel;

use Illuminate\Container\Container;
use Illuminate\Contracts\Config\Repository;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Laravel\Database\ConnectionSettings;
use WriteBuffer\Sync\Declarations;

/**
 * One buffer of config/write-buffer.php.
 */
final class BufferSettings
{
    /**
     * @param array<string, mixed> $settings of the buffer, over the defaults
     */
    private function __construct(
        public readonly string $name,
        private readonly array $settings,
        private readonly Repository $config,
    ) {
    }

    /** @throws ConfigurationException */
    public static function of(?string $name, Repository $config): self
    {
        $name ??= self::defaultName($config);
        $buffers = self::buffers($config);
        if (!array_key_exists($name, $buffers)) {
            throw new ConfigurationException(
                "There is no buffer [$name] in config/write-buffer.php; there are: " . (implode(', ', array_keys($buffers)) ?: 'none')
                . '. Add it to `buffers`, or name another one (WRITE_BUFFER_NAME is the default).'
            );
        }
        $settings = $buffers[$name];
        if (!is_array($settings)) {
            throw new ConfigurationException(
                "Buffer [$name] in config/write-buffer.php is " . get_debug_type($settings) . '; it takes an array, and [] for nothing but the defaults.'
            );
        }
        $settings += (array) $config->get('write-buffer.defaults', []);
        foreach (['connection', 'dsn', 'journal', 'journal_dir'] as $text) {
            if (!is_string($settings[$text] ?? '')) {
                throw new ConfigurationException("`$text` of buffer [$name] in config/write-buffer.php is " . get_debug_type($settings[$text]) . '; it takes a string.');
            }
        }
        return new self($name, $settings, $config);
    }

    public static function defaultName(Repository $config): string
    {
        return (string) ($config->get('write-buffer.default') ?: 'default');
    }

    /** Whether rows are written at once: as configured, else in the environment `testing`. */
    public static function isSync(Repository $config): bool
    {
        $sync = $config->get('write-buffer.sync');
        return $sync === null || $sync === ''
            ? Container::getInstance()->make('env') === 'testing'
            : filter_var($sync, FILTER_VALIDATE_BOOL);
    }

    /** @return list<string> */
    public static function names(Repository $config): array
    {
        return array_map('strval', array_keys(self::buffers($config)));
    }

    /**
     * Those that can be read; what is wrong with the others is said where one is asked for by name.
     *
     * @return list<self>
     */
    public static function readable(Repository $config): array
    {
        $readable = [];
        foreach (self::names($config) as $name) {
            try {
                $readable[] = self::of($name, $config);
            } catch (ConfigurationException) {
                continue;
            }
        }
        return $readable;
    }

    public function connectionName(): string
    {
        return (string) (($this->settings['connection'] ?? null) ?: $this->config->get('database.default'));
    }

    /** With a `dsn` of its own a buffer has a connection only if one is named beside it. */
    public function hasConnection(): bool
    {
        return (string) $this->option('dsn') === '' || (string) $this->option('connection') !== '';
    }

    /** @throws ConfigurationException */
    public function connection(): ConnectionSettings
    {
        return ConnectionSettings::of($this->connectionName(), (array) $this->config->get('database.connections', []));
    }

    /** @throws ConfigurationException */
    public function declarations(): Declarations
    {
        return new Declarations($this->tables());
    }

    /** @return array<mixed> as declared, without the connection's prefix */
    public function tables(): array
    {
        return (array) ($this->settings['tables'] ?? []);
    }

    /** A relative one is the application's: FPM and artisan run in different directories. */
    public function journalDirectory(): ?string
    {
        $directory = (string) ($this->settings['journal_dir'] ?? '');
        return match (true) {
            $directory === '' => null,
            str_starts_with($directory, '/') => $directory,
            default => base_path($directory),
        };
    }

    /** An option as it was configured; null: the extension's default. */
    public function option(string $name): mixed
    {
        return $this->settings[$name] ?? null;
    }

    /**
     * The options of the native buffer.
     *
     * @return array<string, mixed>
     * @throws ConfigurationException
     */
    public function options(): array
    {
        $options = ['journal_dir' => $this->journalDirectory()] + array_diff_key($this->settings, ['connection' => 0]);
        $options = array_filter($options, static fn (mixed $v): bool => $v !== null && $v !== '');
        $connection = $this->hasConnection() ? $this->connection() : null;
        if ($connection !== null && !isset($options['dsn'])) {
            $options['dsn'] = $connection->dsn();
            $session = $options['session'] ?? [];
            $options['session'] = is_array($session) ? $session + $connection->session() : $session;
            $timeoutMs = $connection->connectTimeoutMs();
            $options += $timeoutMs === null ? [] : ['connect_timeout_ms' => $timeoutMs];
        }
        $options['tables'] = $this->prefixed($connection?->prefix() ?? '');
        return $options;
    }

    /** @return array<mixed> */
    private static function buffers(Repository $config): array
    {
        $buffers = $config->get('write-buffer.buffers', []);
        return is_array($buffers) ? $buffers : [];
    }

    /**
     * The extension knows no prefix: it stands in each table's name.
     *
     * A predeclared table that is declared anew must be there when the writer connects, and
     * most applications with a prefix have no orders. What nobody declared gets a name that
     * no row can fill, so that it is refused and never written to the table without prefix.
     *
     * @return array<mixed>
     */
    private function prefixed(string $prefix): array
    {
        $tables = $this->tables();
        if ($prefix === '') {
            return $tables;
        }
        foreach ($tables as $name => $table) {
            $target = is_array($table) ? $table['table'] ?? Declarations::PREDECLARED[$name]['table'] ?? $name : null;
            // What is wrong with the others the extension says.
            if (is_string($target)) {
                $tables[$name]['table'] = $prefix . $target;
            }
        }
        foreach (array_diff_key(Declarations::PREDECLARED, $tables) as $name => $table) {
            $tables[$name] = ['table' => $prefix . $table['table'] . "{declare_{$name}_in_config_write_buffer_php}"];
        }
        return $tables;
    }
}
