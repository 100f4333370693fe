<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\TestCase;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * phpinfo() and `php --ri write_buffer`: what support asks for first, and nothing secret.
 */
final class InfoTest extends TestCase
{
    private const SECRETS = 'mysql://someone:hunter%232@db.internal:3307,second/shop?ssl-key=/etc/key.pem';
    private const SHOW = "ob_start(); phpinfo(INFO_MODULES); preg_match('~^write_buffer$.*?^(?=\\w+\$)~ms', ob_get_clean() . \"\\nend\\n\", \$m);"
        . " echo \$m[0]; echo count(glob('/proc/self/task/*')), \" thread(s)\\n\";";

    public function testItSaysWhatWasBuilt(): void
    {
        $info = $this->rows(Subprocess::php([...Subprocess::arguments(), '--ri', 'write_buffer'])->stdout());
        self::assertSame(phpversion('write_buffer'), $info['Version']);
        self::assertMatchesRegularExpression('~^([0-9a-f]{12}|unknown)$~', $info['Revision']);
        self::assertMatchesRegularExpression('~^(release|debug), \w+-[\w-]+, rustc \d+\.\d+~', $info['Build']);
        ob_start();
        phpinfo(INFO_GENERAL);
        preg_match('~^PHP Extension => (\d+)~m', (string) ob_get_clean(), $api);
        self::assertStringStartsWith("$api[1], " . (PHP_ZTS ? 'ZTS' : 'NTS'), $info['PHP API']);
        self::assertSame(100, (int) $info['write_buffer.max_buffer_size']);
    }

    public function testLookingStartsNothing(): void
    {
        $info = Subprocess::run('$buffer = new WriteBuffer(options: $options);' . self::SHOW);
        self::assertStringContainsString("Writer threads => none\nLive buffers => 1\n", $info->stdout(), $info->output());
        self::assertStringEndsWith("\n1 thread(s)\n", $info->stdout());
    }

    public function testABufferIsShownAtWork(): void
    {
        $code = '$buffer = WriteBuffer::open("spot", ["dsn" => "sqlite:///nowhere/at/all.db", "drain_timeout_ms" => 1]);'
            . '$buffer->addTrade(trade(1));' . self::SHOW . '$buffer->clear();';
        $info = Subprocess::run($code);
        $spot = $this->rows($info->stdout())['Buffer "spot"'] ?? $info->output();
        self::assertSame('sqlite:///nowhere/at/all.db, writing, 1 of 1 rows accepted are pending, journal off', $spot);
        self::assertStringContainsString("Writer threads => 1\n", $info->stdout());
    }

    public function testItHoldsNoCredentials(): void
    {
        $code = '$buffer = new WriteBuffer(options: ["dsn" => "mysql://other:p4ssw%20rd@10.0.0.9/shop"]);' . self::SHOW;
        $info = Subprocess::run($code, ['WRITE_BUFFER_DSN' => self::SECRETS]);
        $rows = $this->rows($info->stdout());
        self::assertSame('mysql://db.internal:3307,second:3306/shop (WRITE_BUFFER_DSN)', $rows['Default DSN'] ?? $info->output());
        self::assertStringStartsWith('mysql://10.0.0.9:3306/shop, ', $rows['Buffer "default"'] ?? $info->output());
        self::assertDoesNotMatchRegularExpression('~someone|hunter|other|p4ssw|key\.pem~', $info->stdout());
        $broken = Subprocess::run(self::SHOW, ['WRITE_BUFFER_DSN' => 'mysql://someone:hunter2@db.internal']);
        self::assertStringContainsString('Default DSN => WRITE_BUFFER_DSN cannot be used: The DSN names no database', $broken->stdout());
        self::assertStringNotContainsString('hunter2', $broken->output());
    }

    /** One in a DSN ended the process when phpinfo() showed it. */
    public function testANulByteInADsnIsRefused(): void
    {
        $code = 'try { $buffer = new WriteBuffer(options: ["dsn" => "sqlite:///tmp/a%00b.db"]); } catch (Exception $e) {'
            . ' echo get_class($e), ": {$e->getMessage()}\n"; }' . self::SHOW;
        $info = Subprocess::run($code, ['WRITE_BUFFER_DSN' => 'sqlite:///tmp/a%00b.db']);
        self::assertSame(0, $info->exitCode, $info->output());
        self::assertStringContainsString('ConfigurationException: The DSN holds a NUL byte', $info->stdout());
        self::assertStringContainsString('cannot be used: The DSN holds a NUL byte', $info->stdout());
    }

    /** @return array<string, string> */
    private function rows(string $info): array
    {
        preg_match_all('~^(.+?) => (.*)$~m', $info, $found);
        return array_combine($found[1], $found[2]);
    }
}
