<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Lifecycle;

use PHPUnit\Framework\TestCase;
use WriteBuffer\Tests\Support\FpmStorm;
use WriteBuffer\Tests\Support\PhpFpm;

/**
 * What `make fpm-storm` does at length, for some seconds.
 */
final class FpmStormTest extends TestCase
{
    public function testEachAcceptedGroupIsThereOnceWhateverIsReloadedAndRestarted(): void
    {
        if (PhpFpm::missing() !== null) {
            self::markTestSkipped((string) PhpFpm::missing());
        }
        ['wrong' => $wrong, 'figures' => $figures] = (new FpmStorm(20, 9, 3))->run();
        self::assertSame([], $wrong, (string) json_encode($figures));
    }
}
