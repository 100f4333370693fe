<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use PDO;
use RuntimeException;

/**
 * The database the tests write to, looked at through PDO: an oracle outside the extension.
 */
final class Database
{
    private static ?PDO $pdo = null;

    public static function dsn(): string
    {
        return (string) getenv('WRITE_BUFFER_TEST_DSN');
    }

    public static function isSqlite(): bool
    {
        return str_starts_with(self::dsn(), 'sqlite:');
    }

    public static function isMariaDb(): bool
    {
        return !self::isSqlite() && stripos((string) self::value('SELECT VERSION()'), 'mariadb') !== false;
    }

    /** @return array{host: string, port: int, user: string, password: string, database: string} */
    public static function parts(): array
    {
        $url = parse_url(self::dsn());
        if ($url === false || self::isSqlite()) {
            throw new RuntimeException('WRITE_BUFFER_TEST_DSN is no mysql:// DSN.');
        }
        return [
            'host' => $url['host'] ?? '127.0.0.1',
            'port' => $url['port'] ?? 3306,
            'user' => rawurldecode($url['user'] ?? 'root'),
            'password' => rawurldecode($url['pass'] ?? ''),
            'database' => rawurldecode(ltrim($url['path'] ?? '', '/')),
        ];
    }

    public static function connect(): PDO
    {
        $options = [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC];
        if (self::isSqlite()) {
            $path = substr(self::dsn(), strlen('sqlite://'));
            return new PDO("sqlite:$path", null, null, $options + [PDO::ATTR_TIMEOUT => 20]);
        }
        ['host' => $host, 'port' => $port, 'user' => $user, 'password' => $password, 'database' => $name] = self::parts();
        $pdo = new PDO("mysql:host=$host;port=$port;dbname=$name;charset=utf8mb4", $user, $password, $options);
        // A writer that hangs must make a test fail, not wait for a day.
        $pdo->exec('SET SESSION lock_wait_timeout = 20, innodb_lock_wait_timeout = 20');
        return $pdo;
    }

    public static function pdo(): PDO
    {
        return self::$pdo ??= self::connect();
    }

    /** The next look at the database uses a new connection. */
    public static function forget(): void
    {
        self::$pdo = null;
    }

    public static function execute(string $sql): void
    {
        self::pdo()->exec($sql);
    }

    /**
     * @param list<mixed> $bindings
     * @return list<array<string, mixed>>
     */
    public static function rows(string $sql, array $bindings = []): array
    {
        $statement = self::pdo()->prepare($sql);
        $statement->execute($bindings);
        return $statement->fetchAll();
    }

    /** @param list<mixed> $bindings */
    public static function value(string $sql, array $bindings = []): mixed
    {
        $rows = self::rows($sql, $bindings);
        return $rows === [] ? null : reset($rows[0]);
    }

    public static function count(string $table): int
    {
        return (int) self::value("SELECT COUNT(*) FROM $table");
    }

    /** Type of an exact amount: SQLite has none but text. */
    public static function money(int $digits = 36, int $scale = 18): string
    {
        return self::isSqlite() ? 'TEXT' : "DECIMAL($digits,$scale)";
    }

    /** Makes a table anew. */
    public static function create(string $table, string $columns): void
    {
        self::execute("DROP TABLE IF EXISTS $table");
        self::execute("CREATE TABLE $table ($columns)" . (self::isSqlite() ? '' : ' ENGINE=InnoDB DEFAULT CHARSET=utf8mb4'));
    }

    public static function drop(string ...$tables): void
    {
        foreach ($tables as $table) {
            self::execute("DROP TABLE IF EXISTS $table");
        }
    }

    /** The tables of the predeclared names, as the spot backend has them, empty. */
    public static function createSpotTables(): void
    {
        $money = self::money();
        $number = self::isSqlite() ? 'INTEGER PRIMARY KEY AUTOINCREMENT' : 'BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY';
        self::create('orders', "id $number, user_id BIGINT NOT NULL, status VARCHAR(20) NOT NULL,
            quantity $money NOT NULL, executed_quantity $money NOT NULL DEFAULT '0', price $money NULL, updated_at BIGINT NULL");
        self::create('order_transactions', "id $number, match_id BIGINT NULL UNIQUE, buy_order_id BIGINT NULL,
            sell_order_id BIGINT NULL, price $money NOT NULL, quantity $money NOT NULL");
        foreach (['usd', 'btc'] as $currency) {
            self::create("spot_{$currency}_accounts", "id BIGINT NOT NULL UNIQUE, balance $money NOT NULL DEFAULT '0',
                available_balance $money NOT NULL DEFAULT '0', usd_amount $money NOT NULL DEFAULT '0', updated_at BIGINT NULL");
        }
    }

    public static function createAccount(int $user, string $currency, string $balance = '0'): void
    {
        self::execute("INSERT INTO spot_{$currency}_accounts (id, balance, available_balance) VALUES ($user, '$balance', '$balance')");
    }

    public static function createOrder(int $id, string $quantity = '10'): void
    {
        self::execute("INSERT INTO orders (id, user_id, status, quantity) VALUES ($id, 7, 'new', '$quantity')");
    }

    /**
     * Keeps everybody else from writing to a table (SQLite: to any), until the connection
     * that is returned rolls back.
     */
    public static function blockWrites(string $table): PDO
    {
        $pdo = self::connect();
        if (self::isSqlite()) {
            $pdo->exec('BEGIN IMMEDIATE');
        } else {
            $pdo->exec('BEGIN');
            $pdo->query("SELECT * FROM $table FOR UPDATE")->fetchAll();
        }
        return $pdo;
    }
}
