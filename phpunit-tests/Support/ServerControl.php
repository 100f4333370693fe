<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use PDO;
use RuntimeException;

/**
 * Takes the database server away and brings it back. SQLite has none, and a server may be
 * somebody else's: then a lock keeps writers out, or their connections are killed.
 */
final class ServerControl
{
    private function __construct(private readonly string $command)
    {
    }

    public static function get(): self
    {
        return new self((string) getenv('WRITE_BUFFER_TEST_SERVER_CTL'));
    }

    /** Does something while the server is stopped. */
    public function away(callable $act): void
    {
        if ($this->command === '') {
            $lock = Database::blockWrites('spot_usd_accounts');
            $act();
            $lock->exec('ROLLBACK');
            return;
        }
        $this->run('stop');
        try {
            $act();
        } finally {
            $this->run('start');
        }
    }

    /** Ends the server in the middle of whatever it does, and starts it again. */
    public function crash(): void
    {
        if ($this->command === '') {
            Database::isSqlite() || $this->killConnections();
            return;
        }
        $this->run('kill');
        $this->run('start');
    }

    private function killConnections(): void
    {
        $others = 'SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND DB = DATABASE()';
        foreach (Database::pdo()->query($others)->fetchAll(PDO::FETCH_COLUMN) as $id) {
            Database::execute("KILL $id");
        }
    }

    private function run(string $action): void
    {
        // The tests' own connection ends with the server.
        Database::forget();
        exec("$this->command $action 2>&1", $output, $status);
        if ($status !== 0) {
            throw new RuntimeException("$this->command $action: " . implode("\n", $output));
        }
    }
}
