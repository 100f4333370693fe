<?php

declare(strict_types=1);

namespace WriteBuffer\Bench;

use mysqli;
use PDO;
use WriteBuffer\Bench\Flow\Flow;

/** The server that scripts/with-server.sh has started, with the tables of a flow. */
final class Database
{
    /** Without TLS, as PHP's own drivers connect unless they are told otherwise. */
    public static function dsn(): string
    {
        return self::env('WRITE_BUFFER_TEST_DSN') . '?ssl-mode=disabled';
    }

    public static function pdo(bool $emulates = false): PDO
    {
        $dsn = sprintf('mysql:host=%s;port=%s;dbname=%s;charset=utf8mb4', self::env('DB_HOST'), self::env('DB_PORT'), self::env('DB_DATABASE'));

        return new PDO($dsn, self::env('DB_USERNAME'), self::env('DB_PASSWORD'), [
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
            PDO::ATTR_EMULATE_PREPARES => $emulates,
            PDO::ATTR_STRINGIFY_FETCHES => true,
        ]);
    }

    public static function mysqli(): mysqli
    {
        mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $connection = mysqli_init();
        $connection->options(MYSQLI_OPT_LOCAL_INFILE, true);
        $connection->real_connect(self::env('DB_HOST'), self::env('DB_USERNAME'), self::env('DB_PASSWORD'), self::env('DB_DATABASE'), (int) self::env('DB_PORT'));
        $connection->set_charset('utf8mb4');

        return $connection;
    }

    /** Lets LOAD DATA LOCAL be sent, which servers refuse unless told otherwise. */
    public static function allowLocalInfile(): void
    {
        self::administer('SET GLOBAL local_infile = 1');
    }

    /** Binary logs of long runs take gigabytes. */
    public static function dropOldLogs(): void
    {
        self::administer('PURGE BINARY LOGS BEFORE NOW()');
    }

    private static function administer(string $sql): void
    {
        $admin = parse_url(self::env('WRITE_BUFFER_TEST_ADMIN_DSN'));
        $pdo = new PDO("mysql:host={$admin['host']};port={$admin['port']}", $admin['user'], $admin['pass'] ?? '', [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
        $pdo->exec($sql);
    }

    /** Empty tables, and in them what a flow finds there. */
    public static function prepare(Flow $flow): void
    {
        $pdo = self::pdo(true);
        $pdo->exec('DROP TABLE IF EXISTS orders, order_transactions, spot_usd_accounts, spot_btc_accounts');
        foreach (explode(";\n", (string) file_get_contents(__DIR__ . '/../schema.sql')) as $statement) {
            trim($statement) === '' || $pdo->exec($statement);
        }
        foreach (['usd', 'btc'] as $currency) {
            foreach (array_chunk($flow->users(), 5_000) as $users) {
                $pdo->exec("INSERT INTO spot_{$currency}_accounts (id, balance, available_balance) VALUES " . implode(',', array_map(static fn (int $user): string => "($user, 1000000000, 1000000000)", $users)));
            }
        }
        $rows = [];
        foreach ($flow->orders() as $order) {
            $rows[] = $order;
            if (count($rows) === 2_000) {
                self::insert($pdo, 'orders', $rows);
                $rows = [];
            }
        }
        $rows === [] || self::insert($pdo, 'orders', $rows);
        $pdo->exec('ANALYZE TABLE orders, order_transactions, spot_usd_accounts, spot_btc_accounts');
    }

    /** @param non-empty-list<array<string, mixed>> $rows with the same columns */
    public static function insert(PDO $pdo, string $table, array $rows): void
    {
        $pdo->exec("INSERT INTO `$table` (" . implode(',', array_keys($rows[0])) . ') VALUES ' . self::tuples($pdo, $rows));
    }

    /** @param list<array<string, mixed>> $rows */
    public static function tuples(PDO $pdo, array $rows): string
    {
        $quote = static fn (int|string|null $value): string => match (true) {
            $value === null => 'NULL',
            is_int($value) => (string) $value,
            default => $pdo->quote($value),
        };

        return implode(',', array_map(static fn (array $row): string => '(' . implode(',', array_map($quote, $row)) . ')', $rows));
    }

    /** Counts, and sums of a checksum a row: two databases share them only if the same was written. */
    public static function fingerprint(): string
    {
        $pdo = self::pdo();
        $account = ['id', 'balance', 'available_balance', 'usd_amount', 'updated_at'];
        $facts = [];
        foreach (
            [
                'orders' => ['id', 'user_id', 'status', 'quantity', 'price', 'executed_quantity', 'executed_price', 'fee', 'created_at', 'updated_at'],
                'order_transactions' => ['match_id', 'buy_order_id', 'sell_order_id', 'price', 'quantity', 'amount', 'buy_fee', 'sell_fee', 'buyer_id', 'seller_id', 'created_at'],
                'spot_usd_accounts' => $account,
                'spot_btc_accounts' => $account,
            ] as $table => $columns
        ) {
            $row = 'CRC32(CONCAT_WS(\'/\', ' . implode(', ', array_map(static fn (string $column): string => "COALESCE($column, '')", $columns)) . '))';
            $facts[] = "$table " . implode(' ', $pdo->query("SELECT COUNT(*), SUM($row) FROM $table")->fetch(PDO::FETCH_NUM));
        }

        return implode(', ', $facts);
    }

    private static function env(string $name): string
    {
        return getenv($name) ?: throw new \RuntimeException("$name is not set: run this through `make bench`.");
    }
}
