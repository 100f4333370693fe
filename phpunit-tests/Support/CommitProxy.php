<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

/**
 * A proxy before the MySQL server, in a process of its own. It cuts the first connection
 * that sends COMMIT after the server has got it and answered, the second before the server
 * gets it, and so on in turn; every third COMMIT passes.
 */
final class CommitProxy
{
    private const CODE = <<<'PHP'
        $listener = stream_socket_server('tcp://127.0.0.1:0');
        echo 'port ', explode(':', stream_socket_get_name($listener, false))[1], "\n";
        $peers = [];
        $commits = 0;
        $close = static function ($socket) use (&$peers): void {
            [$other] = $peers[(int) $socket];
            unset($peers[(int) $socket], $peers[(int) $other]);
            fclose($socket);
            fclose($other);
        };
        while (true) {
            $read = [$listener, ...array_column($peers, 1)];
            $none = null;
            if (!stream_select($read, $none, $none, 60)) exit;
            foreach ($read as $socket) {
                if ($socket === $listener) {
                    $client = stream_socket_accept($listener);
                    $server = stream_socket_client($argv[1] ?? getenv('PROXY_TO'));
                    $peers[(int) $client] = [$server, $client, 'client'];
                    $peers[(int) $server] = [$client, $server, 'server'];
                    continue;
                }
                if (!isset($peers[(int) $socket])) continue;
                [$other, , $from] = $peers[(int) $socket];
                $bytes = fread($socket, 1 << 16);
                if ($bytes === '' || $bytes === false) { $close($socket); continue; }
                if ($from === 'client' && preg_match('/\bCOMMIT\b/', $bytes) && ++$commits % 3) {
                    if ($commits % 3 === 1) {
                        fwrite($other, $bytes);
                        fread($other, 1 << 16);
                    }
                    echo "cut\n";
                    $close($socket);
                    continue;
                }
                for ($at = 0; $at < strlen($bytes); $at += $written) {
                    if (!$written = @fwrite($other, substr($bytes, $at))) { $close($socket); break; }
                }
            }
        }
        PHP;

    private function __construct(private readonly Subprocess $process)
    {
    }

    public static function start(): self
    {
        ['host' => $host, 'port' => $port] = Database::parts();
        return new self(Subprocess::start(self::CODE, ['PROXY_TO' => "tcp://$host:$port"])->waitFor("\n"));
    }

    public function __destruct()
    {
        $this->process->kill(SIGKILL);
    }

    /** The database, through the proxy, in plain text. */
    public function dsn(): string
    {
        preg_match('/port (\d+)/', $this->process->stdout(), $port);
        $dsn = (string) preg_replace('~@[^/]*/~', "@127.0.0.1:$port[1]/", Database::dsn());
        return $dsn . (str_contains($dsn, '?') ? '&' : '?') . 'ssl-mode=disabled';
    }

    public function cuts(): int
    {
        return substr_count($this->process->stdout(), 'cut');
    }
}
