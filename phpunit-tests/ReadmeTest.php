<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\TestCase;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * What README.md shows runs, and prints what stands there.
 */
final class ReadmeTest extends TestCase
{
    public function testTheTenLines(): void
    {
        $readme = (string) file_get_contents(__DIR__ . '/../README.md');
        $found = preg_match('~^### In ten lines\n\n```php\n(.+?)^```\n\n```text\n(.+?)^```$~ms', $readme, $block);
        self::assertSame(1, $found, 'README.md has the example and what it prints');
        self::assertSame(10, substr_count($block[1], "\n"), 'ten lines');
        $directory = sys_get_temp_dir() . '/write-buffer-readme-' . bin2hex(random_bytes(6));
        mkdir($directory, 0700);
        file_put_contents("$directory/example.php", $block[1]);
        $example = Subprocess::php([...Subprocess::arguments(), '-d', "sys_temp_dir=$directory", "$directory/example.php"]);
        array_map('unlink', glob("$directory/*") ?: []);
        rmdir($directory);
        self::assertSame($block[2], $example->stdout(), $example->output());
        self::assertSame('', $example->stderr());
    }
}
