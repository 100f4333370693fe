<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PHPUnit\Framework\TestCase;

/**
 * What installers are told of the extension is what README.md promises and what a release has.
 */
final class PackagesTest extends TestCase
{
    private const REPOSITORY = __DIR__ . '/..';

    public function testPieInstallsItWhereReadmeSaysThatItRuns(): void
    {
        $readme = self::flat('README.md');
        self::assertSame(1, preg_match('~PHP (8\.\d) and later on Linux, thread-safe or not\.~', $readme, $promised));
        $manifest = self::manifest('composer.json');
        self::assertSame('php-ext', $manifest['type']);
        self::assertSame(['php' => ">=$promised[1]"], $manifest['require']);
        $extension = $manifest['php-ext'];
        self::assertSame(['linux'], $extension['os-families']);
        self::assertTrue($extension['support-zts'], 'thread-safe');
        self::assertTrue($extension['support-nts'], 'or not');
        self::assertTrue(extension_loaded($extension['extension-name']));
        self::assertFileExists(self::REPOSITORY . "/{$extension['build-path']}/config.m4");
        foreach (['laravel', 'php-stubs'] as $package) {
            self::assertSame(">=$promised[1]", self::manifest("$package/composer.json")['require']['php'], $package);
        }
    }

    /** PIE takes an archive where a release has one, and builds with Cargo elsewhere. */
    public function testAReleaseHasArchivesForThePhpThatReadmeNames(): void
    {
        $release = self::flat('.github/workflows/release.yml');
        self::assertSame(1, preg_match('~ php: \[([^]]+)\] runner: \[([^]]+)\]~', $release, $matrix));
        preg_match_all('~"([^"]+)"~', $matrix[1], $versions);
        $last = array_pop($versions[1]);
        $named = implode(', ', $versions[1]) . " and $last, x86_64 and arm64, not thread-safe";
        self::assertStringContainsString("The release workflow makes them for PHP $named;", self::flat('README.md'));
        self::assertSame(2, substr_count($matrix[2], 'ubuntu-'), 'two architectures');
        self::assertSame(1, substr_count($matrix[2], '-arm'));
        self::assertStringContainsString(' container: debian:bookworm ', $release, 'with the glibc that README.md promises');
        self::assertStringNotContainsString('phpts', $release, 'thread-safe PHP of setup-php');
        self::assertSame(['pre-packaged-binary', 'composer-default'], self::manifest('composer.json')['php-ext']['download-url-method']);
    }

    /** @return array<string, mixed> */
    private static function manifest(string $file): array
    {
        return json_decode((string) file_get_contents(self::REPOSITORY . "/$file"), true, 512, JSON_THROW_ON_ERROR);
    }

    /** A text in which a line's end is a space. */
    private static function flat(string $file): string
    {
        return (string) preg_replace('~\s+~', ' ', (string) file_get_contents(self::REPOSITORY . "/$file"));
    }
}
