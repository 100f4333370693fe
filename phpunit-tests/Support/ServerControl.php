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
    /** @var resource|null a restart under way */
    private $restart;
    private ?PDO $lock = null;
    private int $restarts = 0;

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

    /** Does something while the server accepts connections and says nothing more. */
    public function silent(callable $act): void
    {
        if ($this->command === '') {
            $lock = Database::blockWrites('spot_usd_accounts');
            $act();
            $lock->exec('ROLLBACK');
            return;
        }
        $this->run('pause');
        try {
            $act();
        } finally {
            $this->run('resume');
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

    /** Restarts the server while the caller goes on. */
    public function restartBeside(): void
    {
        $this->awaitRestart();
        Database::forget();
        if ($this->command === '') {
            Database::isSqlite() ? $this->lock = Database::blockWrites('spot_usd_accounts') : $this->killConnections();
            $this->restarts++;
            return;
        }
        $files = [['file', '/dev/null', 'r'], ['file', '/dev/null', 'w'], ['file', '/dev/null', 'w']];
        $this->restart = proc_open("exec $this->command restart", $files, $pipes) ?: throw new RuntimeException("$this->command does not start.");
    }

    /** Until the server is there again. */
    public function awaitRestart(): void
    {
        $this->lock?->exec('ROLLBACK');
        $this->lock = null;
        if (isset($this->restart)) {
            $status = proc_close($this->restart);
            $this->restart = null;
            $status === 0 || throw new RuntimeException("$this->command restart: exit $status");
            $this->restarts++;
        }
    }

    /** How often the server restarted and came back, of what restartBeside() was asked for. */
    public function restarts(): int
    {
        return $this->restarts;
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
