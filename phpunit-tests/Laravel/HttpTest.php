<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel;

use WriteBuffer\Tests\Laravel\Support\LaravelTestCase;
use WriteBuffer\Tests\Support\Database;

/**
 * Requests to a server whose process, and with it the buffer, outlives them.
 */
final class HttpTest extends LaravelTestCase
{
    public function testARequestsRowsAreWrittenAfterItsResponse(): void
    {
        self::needsExtension();
        $port = self::freePort();
        $server = $this->application->php(['-S', "127.0.0.1:$port", 'public/index.php'], ['TEST_CONFIG' => (string) json_encode(self::LAZY)]);
        $this->eventually(static fn (): bool => is_resource(@stream_socket_client("tcp://127.0.0.1:$port")), 'the server listens');
        $get = static fn (): string => (string) file_get_contents("http://127.0.0.1:$port/trade");
        $response = $get();
        self::assertSame('added 1', $response, $this->application->log());
        $this->eventually(static fn (): bool => Database::count('order_transactions') === 1, 'the row is written');
        self::assertSame('added 1', $get());
        $this->eventually(fn (): bool => substr_count($this->application->events(), 'BatchCommitted default 1') === 2, 'the second request\'s event');
        self::assertTrue($server->isRunning());
    }

    private static function freePort(): int
    {
        $socket = stream_socket_server('tcp://127.0.0.1:0');
        self::assertIsResource($socket);
        $port = (int) substr((string) strrchr((string) stream_socket_get_name($socket, false), ':'), 1);
        fclose($socket);
        return $port;
    }
}
