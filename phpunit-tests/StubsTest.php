<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\TestCase;
use ReflectionExtension;
use WriteBuffer\Tests\Support\Signature;
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

    /** Where the extension is not loaded the stubs can be, and are the same to the last default. */
    public function testTheStubsDeclareWhatReflectionSeesInTheExtension(): void
    {
        $names = (new ReflectionExtension('write_buffer'))->getClassNames();
        $code = 'require $argv[1]; require $argv[2];'
            . ' echo json_encode(array_map([WriteBuffer\Tests\Support\Signature::class, "ofClass"], array_slice($argv, 3)));';
        $signature = __DIR__ . '/Support/Signature.php';
        $stubs = Subprocess::php(['-n', '-r', $code, '--', self::STUBS, $signature, ...$names]);
        self::assertSame(0, $stubs->exitCode, $stubs->output());
        $declared = array_combine($names, json_decode($stubs->stdout(), true, 512, JSON_THROW_ON_ERROR));
        foreach ($names as $name) {
            self::assertSame(Signature::ofClass($name), $declared[$name], $name);
        }
    }

    /** Nothing loads them by itself: with the extension the classes would be declared twice. */
    public function testThePackageGivesThemToAnalysersAndToNobodyElse(): void
    {
        $directory = dirname(self::STUBS);
        $manifest = json_decode((string) file_get_contents("$directory/composer.json"), true, 512, JSON_THROW_ON_ERROR);
        self::assertSame('write-buffer/stubs', $manifest['name']);
        self::assertArrayNotHasKey('autoload', $manifest);
        self::assertSame(['extension.neon'], $manifest['extra']['phpstan']['includes']);
        $neon = (string) file_get_contents("$directory/extension.neon");
        preg_match_all('~^\s+- (\S+)$~m', $neon, $files);
        self::assertSame([basename(self::STUBS), basename(self::STUBS)], $files[1], 'scanFiles and stubFiles');
    }
}
