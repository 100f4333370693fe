<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Database;

use Illuminate\Support\ConfigurationUrlParser;
use WriteBuffer\Exception\ConfigurationException;

/**
 * What the extension is told of a connection of config/database.php: DSN, session and prefix.
 *
 * The write side counts; what cannot be passed on is refused, never left out.
 */
final class ConnectionSettings
{
    /** @param array<string, mixed> $config with `url` read and the write side merged in */
    private function __construct(public readonly string $name, private readonly array $config)
    {
    }

    /**
     * @param array<string, array<string, mixed>> $connections of config/database.php
     * @throws ConfigurationException
     */
    public static function of(string $name, array $connections): self
    {
        if (!is_array($connections[$name] ?? null)) {
            throw new ConfigurationException(
                "There is no connection [$name] in config/database.php; there are: " . implode(', ', array_keys($connections))
                . '. Set the buffer\'s `connection` in config/write-buffer.php to one of them.'
            );
        }
        $config = (new ConfigurationUrlParser())->parseConfiguration($connections[$name]);
        $settings = new self($name, self::writeSide($name, $config));
        if (!in_array($settings->driver(), ['mysql', 'mariadb', 'sqlite'], true)) {
            throw new ConfigurationException(
                "Connection [$name] has the driver [{$settings->driver()}], and WriteBuffer writes to mysql, mariadb and sqlite:"
                . ' set the buffer\'s `connection` in config/write-buffer.php to another one.'
            );
        }
        return $settings;
    }

    public function driver(): string
    {
        return (string) ($this->config['driver'] ?? '');
    }

    public function prefix(): string
    {
        return (string) ($this->config['prefix'] ?? '');
    }

    /** @throws ConfigurationException */
    public function dsn(): string
    {
        return $this->driver() === 'sqlite'
            ? 'sqlite://' . implode('/', array_map('rawurlencode', explode('/', $this->sqlitePath())))
            : $this->mySqlDsn();
    }

    /**
     * Session variables (SQLite: pragmas) that give the writer the session the application has.
     *
     * @return array<string, string|int|bool>
     * @throws ConfigurationException
     */
    public function session(): array
    {
        return $this->driver() === 'sqlite' ? $this->pragmas() : $this->variables();
    }

    /** PDO::ATTR_TIMEOUT, which is in seconds. */
    public function connectTimeoutMs(): ?int
    {
        $seconds = $this->options()[\PDO::ATTR_TIMEOUT] ?? null;
        return $seconds === null || $this->driver() === 'sqlite' ? null : (int) ($seconds * 1_000);
    }

    /** Whether the application's own connection refuses what is too long, as the writer does. */
    public function isStrict(): bool
    {
        if ($this->driver() === 'sqlite') {
            return true;
        }
        return isset($this->config['modes'])
            ? self::hasStrictMode((array) $this->config['modes'])
            : (bool) ($this->config['strict'] ?? true);
    }

    /** A statement at connecting that the writer cannot run. */
    public function hasInitCommand(): bool
    {
        return $this->driver() !== 'sqlite' && isset($this->options()[self::attribute('INIT_COMMAND')]);
    }

    /**
     * As Laravel's ConnectionFactory merges it, but with all hosts of several write sides.
     *
     * @param array<string, mixed> $config
     * @return array<string, mixed>
     * @throws ConfigurationException
     */
    private static function writeSide(string $name, array $config): array
    {
        // Without a read side Laravel does not look at the write side either.
        $sides = isset($config['read'], $config['write']) ? $config['write'] : [];
        $sides = isset($sides[0]) ? $sides : [$sides];
        $hosts = [];
        foreach ($sides as $side) {
            $address = ['host' => 0, 'port' => 0];
            if (array_diff_key($side, $address) != array_diff_key($sides[0], $address)) {
                throw new ConfigurationException(
                    "Connection [$name] has write sides that differ in more than host and port, and a DSN has one user and database for all hosts:"
                    . ' give each a connection and a buffer of its own.'
                );
            }
            $port = $side['port'] ?? $config['port'] ?? null;
            foreach (array_filter((array) ($side['host'] ?? $config['host'] ?? []), static fn (mixed $host): bool => (string) $host !== '') as $host) {
                $hosts[] = [(string) $host, $port];
            }
        }
        $merged = array_merge($config, $sides[0], ['hosts' => $hosts]);
        unset($merged['read'], $merged['write']);
        return $merged;
    }

    private function mySqlDsn(): string
    {
        $database = (string) ($this->config['database'] ?? '');
        if ($database === '') {
            throw $this->refused('names no database', 'set `database` (DB_DATABASE)');
        }
        $socket = (string) ($this->config['unix_socket'] ?? '');
        if ($this->config['hosts'] === [] && $socket === '') {
            throw $this->refused('names no host to write to', 'set `host` (DB_HOST) or `unix_socket`');
        }
        $hosts = array_map(static function (array $address): string {
            [$host, $port] = $address;
            $host = str_contains($host, ':') ? '[' . trim($host, '[]') . ']' : rawurlencode($host);
            return $port === null || $port === '' ? $host : "$host:$port";
        }, $this->config['hosts']);
        $user = rawurlencode((string) ($this->config['username'] ?? ''));
        $password = (string) ($this->config['password'] ?? '');
        $query = array_filter(['socket' => $socket] + $this->ssl(), static fn (string $v): bool => $v !== '');
        return $this->driver() . '://' . $user . ($password === '' ? '' : ':' . rawurlencode($password))
            . ($user === '' ? '' : '@') . implode(',', $hosts) . '/' . rawurlencode($database)
            . ($query === [] ? '' : '?' . http_build_query($query, '', '&', PHP_QUERY_RFC3986));
    }

    /** @return array<string, string> */
    private function ssl(): array
    {
        $option = fn (string $name): mixed => $this->options()[self::attribute($name)] ?? null;
        foreach (['SSL_CAPATH', 'SSL_CIPHER'] as $name) {
            if ((string) $option($name) !== '') {
                throw $this->refused("has the option MYSQL_ATTR_$name, which cannot be passed on", 'use MYSQL_ATTR_SSL_CA, or give the buffer a `dsn`');
            }
        }
        $ssl = array_map('strval', ['ssl-ca' => $option('SSL_CA'), 'ssl-cert' => $option('SSL_CERT'), 'ssl-key' => $option('SSL_KEY')]);
        $verify = $option('SSL_VERIFY_SERVER_CERT');
        if (implode('', $ssl) === '' && $verify === null) {
            return [];
        }
        // PDO verifies a server as soon as it is given a CA, unless it is told not to.
        return ['ssl-mode' => $verify ?? $ssl['ssl-ca'] !== '' ? 'verify_identity' : 'required'] + $ssl;
    }

    /** @return array<string, string> */
    private function variables(): array
    {
        $charset = strtolower((string) ($this->config['charset'] ?? 'utf8mb4'));
        if (!in_array($charset, ['utf8mb4', 'utf8mb3', 'utf8', 'ascii'], true)) {
            throw $this->refused("has the charset [$charset], and text is written as UTF-8", 'set `charset` to utf8mb4');
        }
        $collation = (string) ($this->config['collation'] ?? '');
        $level = (string) ($this->config['isolation_level'] ?? '');
        return array_filter([
            // One of another character set would change that of the session, too.
            'collation_connection' => str_starts_with($collation, 'utf8mb4_') ? $collation : '',
            'time_zone' => (string) ($this->config['timezone'] ?? ''),
            'transaction_isolation' => $level,
            'sql_mode' => $this->sqlMode(),
        ], static fn (string $value): bool => $value !== '');
    }

    /** Always strict: without it MySQL cuts what is too long, with a warning that nobody sees. */
    private function sqlMode(): string
    {
        $modes = match (true) {
            isset($this->config['modes']) => (array) $this->config['modes'],
            !isset($this->config['strict']) => [],
            (bool) $this->config['strict'] => [
                'ONLY_FULL_GROUP_BY', 'STRICT_TRANS_TABLES', 'NO_ZERO_IN_DATE', 'NO_ZERO_DATE',
                'ERROR_FOR_DIVISION_BY_ZERO', 'NO_ENGINE_SUBSTITUTION',
            ],
            default => ['NO_ENGINE_SUBSTITUTION'],
        };
        $isSet = isset($this->config['modes']) || isset($this->config['strict']);
        return implode(',', $isSet && !self::hasStrictMode($modes) ? [...$modes, 'STRICT_TRANS_TABLES'] : $modes);
    }

    /** @param array<string> $modes */
    private static function hasStrictMode(array $modes): bool
    {
        return array_intersect(['STRICT_TRANS_TABLES', 'STRICT_ALL_TABLES', 'TRADITIONAL'], array_map('strtoupper', $modes)) !== [];
    }

    /** @return array<string, string|int|bool> */
    private function pragmas(): array
    {
        // Since Laravel 12; what has a key of its own is set after them.
        $pragmas = (array) ($this->config['pragmas'] ?? []);
        $pragmas['foreign_keys'] = (bool) ($this->config['foreign_key_constraints'] ?? $pragmas['foreign_keys'] ?? false);
        foreach (['busy_timeout', 'journal_mode', 'synchronous'] as $name) {
            if (isset($this->config[$name])) {
                $pragmas[$name] = $this->config[$name];
            }
        }
        return $pragmas;
    }

    private function sqlitePath(): string
    {
        $path = (string) ($this->config['database'] ?? '');
        if (str_contains($path, ':memory:') || str_contains($path, 'mode=memory')) {
            throw $this->refused(
                'is an SQLite database in memory, which the writer\'s own connection cannot see',
                'use a file, or set WRITE_BUFFER_SYNC=true to write at once'
            );
        }
        if (str_starts_with($path, '/')) {
            return $path;
        }
        $absolute = $path === '' || str_starts_with($path, 'file:') ? false : (realpath($path) ?: realpath(base_path($path)));
        return $absolute ?: throw $this->refused("names the SQLite file [$path], which is not there", 'give an absolute path (DB_DATABASE)');
    }

    /** @return array<int, mixed> */
    private function options(): array
    {
        return (array) ($this->config['options'] ?? []);
    }

    /** Of PDO's MySQL driver; without it nobody can have set one. */
    private static function attribute(string $name): int
    {
        return match (true) {
            class_exists(\Pdo\Mysql::class) => (int) constant("Pdo\Mysql::ATTR_$name"),
            defined("PDO::MYSQL_ATTR_$name") => (int) constant("PDO::MYSQL_ATTR_$name"),
            default => PHP_INT_MIN,
        };
    }

    private function refused(string $fact, string $remedy): ConfigurationException
    {
        return new ConfigurationException("Connection [$this->name] $fact: $remedy.");
    }
}
