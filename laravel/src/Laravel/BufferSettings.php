<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel;

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
        $buffers = (array) $config->get('write-buffer.buffers', []);
        if (!is_array($buffers[$name] ?? null)) {
            throw new ConfigurationException(
                "There is no buffer [$name] in config/write-buffer.php; there are: " . implode(', ', array_keys($buffers))
                . '. Add it to `buffers`, or name another one (WRITE_BUFFER_NAME is the default).'
            );
        }
        return new self($name, $buffers[$name] + (array) $config->get('write-buffer.defaults', []), $config);
    }

    public static function defaultName(Repository $config): string
    {
        return (string) ($config->get('write-buffer.default') ?: 'default');
    }

    /** @return list<string> */
    public static function names(Repository $config): array
    {
        return array_map('strval', array_keys((array) $config->get('write-buffer.buffers', [])));
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

    public function journalDirectory(): ?string
    {
        $directory = (string) ($this->settings['journal_dir'] ?? '');
        return $directory === '' ? null : $directory;
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
        $options = array_filter(array_diff_key($this->settings, ['connection' => 0]), static fn (mixed $v): bool => $v !== null && $v !== '');
        $connection = $this->hasConnection() ? $this->connection() : null;
        if ($connection !== null && !isset($options['dsn'])) {
            $options['dsn'] = $connection->dsn();
            $options['session'] = ($options['session'] ?? []) + $connection->session();
            $timeoutMs = $connection->connectTimeoutMs();
            $options += $timeoutMs === null ? [] : ['connect_timeout_ms' => $timeoutMs];
        }
        $options['tables'] = $this->prefixed($connection?->prefix() ?? '');
        return $options;
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
            if (is_array($table)) {
                $tables[$name]['table'] = $prefix . ($table['table'] ?? Declarations::PREDECLARED[$name]['table'] ?? $name);
            }
        }
        foreach (array_diff_key(Declarations::PREDECLARED, $tables) as $name => $table) {
            $tables[$name] = ['table' => $prefix . $table['table'] . "{declare_{$name}_in_config_write_buffer_php}"];
        }
        return $tables;
    }
}
