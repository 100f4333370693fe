<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use RuntimeException;

/**
 * One request to a FastCGI server on a Unix socket: sent when it is made, read when one likes,
 * so that a process can have many at once.
 */
final class FastCgiRequest
{
    private const BEGIN = 1;
    private const END = 3;
    private const PARAMS = 4;
    private const STDIN = 5;
    private const STDOUT = 6;

    /** @var resource|null */
    private $stream;
    private string $received = '';
    private string $response = '';
    private bool $complete = false;
    private readonly int $sentAt;
    private int $endedAt = 0;

    /** @param array<string, scalar> $query */
    public function __construct(string $socket, string $script, array $query = [])
    {
        // A full backlog refuses for a moment.
        for ($try = 0; $try < 500 && !isset($this->stream); $try++) {
            $this->stream = @stream_socket_client("unix://$socket", $code, $message, 5) ?: null;
            isset($this->stream) || usleep(2_000);
        }
        if (!isset($this->stream)) {
            throw new RuntimeException("No FastCGI server on $socket: $message");
        }
        $parameters = [
            'GATEWAY_INTERFACE' => 'CGI/1.1', 'SERVER_PROTOCOL' => 'HTTP/1.1', 'REQUEST_METHOD' => 'GET',
            'SCRIPT_FILENAME' => $script, 'SCRIPT_NAME' => '/' . basename($script), 'QUERY_STRING' => http_build_query($query),
        ];
        $pairs = '';
        foreach ($parameters as $name => $value) {
            $pairs .= pack('CN', strlen($name), strlen($value) | 1 << 31) . $name . $value;
        }
        $begin = self::record(self::BEGIN, pack('nCx5', 1, 0));
        @fwrite($this->stream, $begin . self::record(self::PARAMS, $pairs) . self::record(self::PARAMS) . self::record(self::STDIN));
        stream_set_blocking($this->stream, false);
        $this->sentAt = hrtime(true);
    }

    /**
     * For stream_select().
     *
     * @return resource|null nothing once it has ended
     */
    public function stream()
    {
        return $this->stream;
    }

    /** Takes in what is there. */
    public function read(): void
    {
        $chunk = isset($this->stream) ? @fread($this->stream, 65_536) : '';
        $this->received .= (string) $chunk;
        while (strlen($this->received) >= 8) {
            ['type' => $type, 'length' => $length, 'padding' => $padding] = unpack('x/Ctype/x2/nlength/Cpadding', $this->received);
            if (strlen($this->received) < 8 + $length + $padding) {
                break;
            }
            $content = substr($this->received, 8, $length);
            $this->received = substr($this->received, 8 + $length + $padding);
            // What goes to STDERR is the server's to log.
            $this->response .= $type === self::STDOUT ? $content : '';
            $this->complete = $this->complete || $type === self::END;
        }
        if ($this->complete || (isset($this->stream) && feof($this->stream))) {
            $this->stream = null;
            $this->endedAt = hrtime(true);
        }
    }

    /** How long it took. */
    public function seconds(): float
    {
        return ($this->endedAt - $this->sentAt) / 1e9;
    }

    /** Waits for the end, but not for ever. */
    public function wait(float $seconds = 30.0): self
    {
        $deadline = hrtime(true) + $seconds * 1e9;
        while (isset($this->stream)) {
            if (hrtime(true) > $deadline) {
                throw new RuntimeException("A request did not end within $seconds s: $this->response");
            }
            [$read, $none] = [[$this->stream], null];
            if (@stream_select($read, $none, $none, 0, 100_000) > 0) {
                $this->read();
            }
        }
        return $this;
    }

    /** Whether the server ended it; else the process that served it died, or none would. */
    public function isComplete(): bool
    {
        return $this->complete;
    }

    public function status(): int
    {
        return preg_match('/^Status: (\d+)/mi', $this->response, $found) === 1 ? (int) $found[1] : 200;
    }

    public function body(): string
    {
        return explode("\r\n\r\n", $this->response, 2)[1] ?? '';
    }

    private static function record(int $type, string $content = ''): string
    {
        return pack('CCnnxx', 1, $type, 1, strlen($content)) . $content;
    }
}
