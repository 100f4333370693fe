<?php

declare(strict_types=1);

namespace WriteBuffer\Bench;

use mysqli;
use PDO;
use WriteBuffer\Bench\Flow\Flow;

/** The server that scripts/with-server.sh has started, with the tables of a flow. */
final class Database
{
    public static function dsn(): string
    {
        return self::env('WRITE_BUFFER_TEST_DSN');
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
        $admin = parse_url(self::env('WRITE_BUFFER_TEST_ADMIN_DSN'));
        new PDO("mysql:host={$admin['host']};port={$admin['port']}", $admin['user'], $admin['pass'], [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::MYSQL_ATTR_INIT_COMMAND => 'SET GLOBAL local_infile = 1']);
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
        $quote = static fn (mixed $value): string => is_int($value) ? (string) $value : $pdo->quote((string) $value);

        return implode(',', array_map(static fn (array $row): string => '(' . implode(',', array_map($quote, $row)) . ')', $rows));
    }

    /** Four sums and counts that two databases share only if the same was written. */
    public static function fingerprint(): string
    {
        $pdo = self::pdo();
        $facts = [];
        foreach (
            [
            "SELECT COUNT(*), SUM(executed_quantity), SUM(fee), SUM(status = 'executed'), SUM(updated_at) FROM orders",
            'SELECT COUNT(*), COUNT(DISTINCT match_id), SUM(amount), SUM(sell_fee) FROM order_transactions',
            'SELECT COUNT(*), SUM(balance), SUM(available_balance), SUM(id * balance) FROM spot_usd_accounts',
            'SELECT COUNT(*), SUM(balance), SUM(available_balance), SUM(id * balance) FROM spot_btc_accounts',
            ] as $query
        ) {
            $facts[] = implode(' ', $pdo->query($query)->fetch(PDO::FETCH_NUM));
        }

        return implode(' | ', $facts);
    }

    private static function env(string $name): string
    {
        return getenv($name) ?: throw new \RuntimeException("$name is not set: run this through `make bench`.");
    }
}
