<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\TestCase;
use RuntimeException;
use WriteBuffer\Tests\Support\CrashScenario;
use WriteBuffer\Tests\Support\PhpFpm;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * Whoever starts a PHP process that leaves something unfreed is told, else the whole suite on a
 * debug build of PHP says nothing. scripts/matrix/debug.sh runs it with one that has zend_test.
 */
final class LeaksTest extends TestCase
{
    private const LEAK = 'zend_leak_bytes(9);';

    protected function setUp(): void
    {
        $this->expectException(RuntimeException::class);
        $this->expectExceptionMessage('A PHP process left memory unfreed');
    }

    public function testAScriptsLeakIsFound(): void
    {
        Subprocess::run(self::LEAK);
    }

    public function testALeakOfAChildOfPhpFpmIsFound(): void
    {
        $fpm = new PhpFpm(['www' => []]);
        $fpm->get($fpm->script('leak', self::LEAK));
        $fpm->stop();
    }

    public function testALeakUnderPhpsOwnServerIsFound(): void
    {
        $root = sys_get_temp_dir() . '/write-buffer-leaks-' . bin2hex(random_bytes(6));
        mkdir($root);
        file_put_contents("$root/index.php", '<?php ' . self::LEAK);
        try {
            [$server, $address] = Subprocess::server($root);
            file_get_contents("http://$address/");
            $server->kill(SIGINT)->wait();
        } finally {
            CrashScenario::removeTree($root);
        }
    }
}
