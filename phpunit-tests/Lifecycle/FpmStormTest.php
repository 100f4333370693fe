<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use WriteBuffer\Tests\Support\FpmStorm;
use WriteBuffer\Tests\Support\PhpFpm;
use WriteBuffer\Tests\Support\ServerControl;

/**
 * What `make fpm-storm` does at length, for some seconds.
 */
final class FpmStormTest extends TestCase
{
    /** php-fpm waits for the end of each connection that it has answered, and does not serve others meanwhile. */
    public function testAServerThatIsRestartedHoldsNoConnectionOfTheTests(): void
    {
        // Not one of the first few, which a shell can be told to close.
        $others = array_map(static fn () => fopen('/dev/null', 'r'), range(1, 20));
        $listener = stream_socket_server('tcp://127.0.0.1:0');
        $client = stream_socket_client('tcp://' . stream_socket_get_name($listener, false));
        $accepted = stream_socket_accept($listener);
        $server = ServerControl::get();
        $server->restartBeside();
        $server->awaitRestart();
        fclose($client);
        stream_set_timeout($accepted, 5);
        self::assertCount(20, $others);
        self::assertSame(['', true], [fread($accepted, 1), feof($accepted)]);
    }

    public function testEachAcceptedGroupIsThereOnceWhateverIsReloadedAndRestarted(): void
    {
        if (PhpFpm::missing() !== null) {
            self::markTestSkipped((string) PhpFpm::missing());
        }
        ['wrong' => $wrong, 'figures' => $figures] = (new FpmStorm(20, 9, 3))->run();
        self::assertSame([], $wrong, (string) json_encode($figures));
    }
}
