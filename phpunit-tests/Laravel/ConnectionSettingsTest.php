<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel;

use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Laravel\Database\ConnectionSettings;
use WriteBuffer\Tests\Laravel\Support\LaravelTestCase;

/**
 * What config/database.php says, as the extension is told it.
 */
final class ConnectionSettingsTest extends LaravelTestCase
{
    private const MYSQL = ['driver' => 'mysql', 'host' => 'db', 'port' => '3306', 'database' => 'spot', 'username' => 'app', 'password' => 'secret'];

    /** @return iterable<string, array{array<string, mixed>, string}> */
    public static function dsns(): iterable
    {
        yield 'plain' => [self::MYSQL, 'mysql://app:secret@db:3306/spot'];
        yield 'mariadb' => [['driver' => 'mariadb'] + self::MYSQL, 'mariadb://app:secret@db:3306/spot'];
        yield 'characters' => [['username' => 'a@b', 'password' => 'p:w/?#@&%', 'database' => 'sp ot'] + self::MYSQL, 'mysql://a%40b:p%3Aw%2F%3F%23%40%26%25@db:3306/sp%20ot'];
        yield 'no password' => [['password' => ''] + self::MYSQL, 'mysql://app@db:3306/spot'];
        yield 'no port' => [['port' => null] + self::MYSQL, 'mysql://app:secret@db/spot'];
        yield 'IPv6' => [['host' => '::1'] + self::MYSQL, 'mysql://app:secret@[::1]:3306/spot'];
        yield 'several hosts' => [['host' => ['a', 'b']] + self::MYSQL, 'mysql://app:secret@a:3306,b:3306/spot'];
        yield 'a url' => [['driver' => 'mysql', 'url' => 'mysql://u:p%40@h:3307/d'], 'mysql://u:p%40@h:3307/d'];
        yield 'a url over parts' => [['url' => 'mysql://other/d'] + self::MYSQL, 'mysql://app:secret@other:3306/d'];
        yield 'a socket' => [['unix_socket' => '/run/my sql.sock'] + self::MYSQL, 'mysql://app:secret@db:3306/spot?socket=%2Frun%2Fmy%20sql.sock'];
        yield 'a socket and no host' => [['host' => null, 'unix_socket' => '/s'] + self::MYSQL, 'mysql://app:secret@/spot?socket=%2Fs'];
        yield 'write host' => [['read' => ['host' => 'r'], 'write' => ['host' => 'w']] + self::MYSQL, 'mysql://app:secret@w:3306/spot'];
        yield 'write hosts' => [['read' => ['host' => ['r']], 'write' => ['host' => ['w1', 'w2']]] + self::MYSQL, 'mysql://app:secret@w1:3306,w2:3306/spot'];
        yield 'write sides of one user' => [
            ['read' => [['host' => 'r']], 'write' => [['host' => 'w1', 'username' => 'writer'], ['host' => 'w2', 'port' => 3307, 'username' => 'writer']]] + self::MYSQL,
            'mysql://writer:secret@w1:3306,w2:3307/spot',
        ];
        yield 'write sides' => [
            ['read' => [['host' => 'r']], 'write' => [['host' => 'w1'], ['host' => 'w2', 'port' => 3307]]] + self::MYSQL,
            'mysql://app:secret@w1:3306,w2:3307/spot',
        ];
        yield 'write without read' => [['write' => ['host' => 'w']] + self::MYSQL, 'mysql://app:secret@db:3306/spot'];
        yield 'sticky read' => [['read' => ['host' => 'r'], 'write' => [], 'sticky' => true] + self::MYSQL, 'mysql://app:secret@db:3306/spot'];
        yield 'CA' => [['options' => [self::attribute('SSL_CA') => '/ca.pem']] + self::MYSQL, 'mysql://app:secret@db:3306/spot?ssl-mode=verify_identity&ssl-ca=%2Fca.pem'];
        yield 'CA, not verified' => [
            ['options' => [self::attribute('SSL_CA') => '/ca.pem', self::attribute('SSL_VERIFY_SERVER_CERT') => false]] + self::MYSQL,
            'mysql://app:secret@db:3306/spot?ssl-mode=required&ssl-ca=%2Fca.pem',
        ];
        yield 'client certificate' => [
            ['options' => [self::attribute('SSL_CERT') => '/c.pem', self::attribute('SSL_KEY') => '/k.pem']] + self::MYSQL,
            'mysql://app:secret@db:3306/spot?ssl-mode=required&ssl-cert=%2Fc.pem&ssl-key=%2Fk.pem',
        ];
        yield 'verified without a CA' => [['options' => [self::attribute('SSL_VERIFY_SERVER_CERT') => true]] + self::MYSQL, 'mysql://app:secret@db:3306/spot?ssl-mode=verify_identity'];
        yield 'options without SSL' => [['options' => [\PDO::ATTR_PERSISTENT => true]] + self::MYSQL, 'mysql://app:secret@db:3306/spot'];
        yield 'sqlite' => [['driver' => 'sqlite', 'database' => '/var/lib/spot/a b.db'], 'sqlite:///var/lib/spot/a%20b.db'];
        yield 'sqlite url' => [['driver' => 'sqlite', 'url' => 'sqlite:///?database=/x.db', 'database' => '/y.db'], 'sqlite:///x.db'];
    }

    /**
     * @dataProvider dsns
     * @param array<string, mixed> $config
     */
    #[DataProvider('dsns')]
    public function testTheDsn(array $config, string $expected): void
    {
        $this->boot();
        $settings = ConnectionSettings::of('c', ['c' => $config]);
        self::assertSame($expected, $settings->dsn());
        if (extension_loaded('write_buffer')) {
            self::assertSame(0, $this->kept(new WriteBuffer(options: ['dsn' => $settings->dsn(), 'session' => $settings->session()]))->count());
        }
    }

    /** @return iterable<string, array{array<string, mixed>, array<string, mixed>}> */
    public static function sessions(): iterable
    {
        $strict = 'ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION';
        yield 'nothing said' => [self::MYSQL, []];
        yield 'strict' => [['strict' => true] + self::MYSQL, ['sql_mode' => $strict]];
        yield 'not strict: the writer is' => [['strict' => false] + self::MYSQL, ['sql_mode' => 'NO_ENGINE_SUBSTITUTION,STRICT_TRANS_TABLES']];
        yield 'modes' => [['modes' => ['STRICT_ALL_TABLES', 'NO_ZERO_DATE'], 'strict' => false] + self::MYSQL, ['sql_mode' => 'STRICT_ALL_TABLES,NO_ZERO_DATE']];
        yield 'lax modes' => [['modes' => ['NO_ZERO_DATE']] + self::MYSQL, ['sql_mode' => 'NO_ZERO_DATE,STRICT_TRANS_TABLES']];
        yield 'small letters' => [['modes' => ['strict_trans_tables']] + self::MYSQL, ['sql_mode' => 'strict_trans_tables']];
        yield 'no modes' => [['modes' => []] + self::MYSQL, ['sql_mode' => 'STRICT_TRANS_TABLES']];
        yield 'timezone' => [['timezone' => '+02:00'] + self::MYSQL, ['time_zone' => '+02:00']];
        yield 'isolation' => [['isolation_level' => 'REPEATABLE READ'] + self::MYSQL, ['transaction_isolation' => 'REPEATABLE READ']];
        yield 'collation' => [['charset' => 'utf8mb4', 'collation' => 'utf8mb4_bin'] + self::MYSQL, ['collation_connection' => 'utf8mb4_bin']];
        yield 'another collation' => [['charset' => 'utf8', 'collation' => 'utf8_bin'] + self::MYSQL, []];
        yield 'sqlite' => [['driver' => 'sqlite', 'database' => '/x'], ['foreign_keys' => false]];
        yield 'sqlite pragmas' => [
            ['driver' => 'sqlite', 'database' => '/x', 'foreign_key_constraints' => true, 'busy_timeout' => 5, 'journal_mode' => 'wal', 'synchronous' => null],
            ['foreign_keys' => true, 'busy_timeout' => 5, 'journal_mode' => 'wal'],
        ];
        yield 'other sqlite pragmas' => [
            ['driver' => 'sqlite', 'database' => '/x', 'busy_timeout' => 5, 'pragmas' => ['cache_size' => -2000, 'foreign_keys' => 1, 'busy_timeout' => 6]],
            ['cache_size' => -2000, 'foreign_keys' => true, 'busy_timeout' => 5],
        ];
    }

    /**
     * @dataProvider sessions
     * @param array<string, mixed> $config
     * @param array<string, mixed> $expected
     */
    #[DataProvider('sessions')]
    public function testTheSession(array $config, array $expected): void
    {
        $this->boot();
        self::assertSame($expected, ConnectionSettings::of('c', ['c' => $config])->session());
    }

    public function testATimeoutOfPdoIsInSeconds(): void
    {
        $this->boot();
        self::assertSame(2_000, ConnectionSettings::of('c', ['c' => ['options' => [\PDO::ATTR_TIMEOUT => 2]] + self::MYSQL])->connectTimeoutMs());
        self::assertNull(ConnectionSettings::of('c', ['c' => self::MYSQL])->connectTimeoutMs());
    }

    /** @return iterable<string, array{array<string, mixed>|null, string}> */
    public static function refusals(): iterable
    {
        yield 'not there' => [null, 'There is no connection [c] in config/database.php; there are: other.'];
        yield 'pgsql' => [['driver' => 'pgsql'], 'Connection [c] has the driver [pgsql]'];
        yield 'sqlsrv' => [['driver' => 'sqlsrv'], 'writes to mysql, mariadb and sqlite'];
        yield 'pgsql by url' => [['driver' => 'mysql', 'url' => 'postgres://h/d'], 'driver [pgsql]'];
        yield 'memory' => [['driver' => 'sqlite', 'database' => ':memory:'], 'WRITE_BUFFER_SYNC=true'];
        yield 'a file that is not there' => [['driver' => 'sqlite', 'database' => 'no/such.db'], 'give an absolute path'];
        yield 'no database' => [['database' => ''] + self::MYSQL, 'names no database'];
        yield 'no host' => [['host' => ''] + self::MYSQL, 'names no host to write to: set `host`'];
        yield 'no write host' => [['read' => ['host' => 'r'], 'write' => ['host' => []]] + self::MYSQL, 'names no host to write to'];
        yield 'write sides of two users' => [
            ['read' => [], 'write' => [['host' => 'a'], ['host' => 'b', 'username' => 'other', 'password' => 'secret']]] + self::MYSQL,
            'Connection [c] has write sides that differ in more than host and port',
        ];
        yield 'latin1' => [['charset' => 'latin1'] + self::MYSQL, 'set `charset` to utf8mb4'];
        yield 'cipher' => [['options' => [self::attribute('SSL_CIPHER') => 'AES']] + self::MYSQL, 'MYSQL_ATTR_SSL_CIPHER, which cannot be passed on'];
    }

    /**
     * @dataProvider refusals
     * @param array<string, mixed>|null $config
     */
    #[DataProvider('refusals')]
    public function testWhatCannotBePassedOnIsRefusedWithARemedy(?array $config, string $expected): void
    {
        $this->boot();
        $error = self::thrown(ConfigurationException::class, static function () use ($config): void {
            $settings = ConnectionSettings::of('c', $config === null ? ['other' => self::MYSQL] : ['c' => $config]);
            $settings->dsn();
            $settings->session();
        });
        self::assertStringContainsString($expected, $error->getMessage());
        self::assertStringNotContainsString('secret', $error->getMessage());
    }

    /** As an application names it; its number is another one in PHP 8.5. */
    private static function attribute(string $name): int
    {
        return (int) constant(class_exists(\Pdo\Mysql::class) ? "Pdo\Mysql::ATTR_$name" : "PDO::MYSQL_ATTR_$name");
    }
}
