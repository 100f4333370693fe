<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\TestCase;
use ReflectionExtension;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * What IDEs and analysers are told is what the extension is.
 */
final class StubsTest extends TestCase
{
    private const STUBS = __DIR__ . '/../php-stubs/write_buffer.stub.php';

    public function testTheStubsAreThoseOfThisExtension(): void
    {
        $generator = [...Subprocess::arguments(), __DIR__ . '/../scripts/generate-stubs.php'];
        $first = Subprocess::php($generator);
        self::assertSame(0, $first->exitCode, $first->output());
        self::assertSame((string) file_get_contents(self::STUBS), $first->stdout(), 'make stubs');
        self::assertSame($first->stdout(), Subprocess::php($generator)->stdout(), 'always the same');
    }

    public function testTheStubsArePhp(): void
    {
        $check = Subprocess::php(['-n', '-l', self::STUBS]);
        self::assertSame(0, $check->exitCode, $check->output());
    }

    /** Where the extension is not loaded the stubs can be, and are the same classes. */
    public function testTheStubsDeclareTheSameClassesAndMethods(): void
    {
        $code = 'require $argv[1]; echo json_encode(array_map(fn ($c) => get_class_methods($c), array_combine($n = [%s], $n)));';
        $names = (new ReflectionExtension('write_buffer'))->getClassNames();
        sort($names);
        $list = implode(', ', array_map(static fn (string $name): string => var_export($name, true), $names));
        $stubs = Subprocess::php(['-n', '-r', sprintf($code, $list), '--', self::STUBS]);
        self::assertSame(0, $stubs->exitCode, $stubs->output());
        $declared = json_decode($stubs->stdout(), true, flags: JSON_THROW_ON_ERROR);
        foreach ($names as $name) {
            self::assertEqualsCanonicalizing(get_class_methods($name), $declared[$name], $name);
        }
    }
}
