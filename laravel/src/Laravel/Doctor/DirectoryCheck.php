<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Doctor;

/**
 * A directory that is made when it is needed: can this user make it and write to it, and nobody else?
 */
final class DirectoryCheck implements Check
{
    public function __construct(private readonly string $subject, private readonly ?string $path, private readonly string $without)
    {
    }

    public function findings(): iterable
    {
        if ($this->path === null) {
            yield Finding::note($this->subject, "none: $this->without");
            return;
        }
        $existing = $this->path;
        while (!file_exists($existing) && dirname($existing) !== $existing) {
            $existing = dirname($existing);
        }
        $user = function_exists('posix_geteuid') ? (posix_getpwuid(posix_geteuid())['name'] ?? (string) posix_geteuid()) : get_current_user();
        if (!is_dir($existing)) {
            yield Finding::fault($this->subject, "$existing is no directory; set the path to one on a local disk");
        } elseif (!self::takesFiles($existing)) {
            yield Finding::fault($this->subject, "$existing is not writable for user $user; run this as the workers' user, or chown it to them");
        } elseif ($existing === $this->path && (fileperms($this->path) & 0022) !== 0) {
            yield Finding::fault($this->subject, "$this->path can be changed by other users, and rows lie there; run: chmod 700 $this->path");
        } else {
            yield Finding::ok($this->subject, "$this->path, writable for user $user");
        }
    }

    /** Tried, not asked: root is said to be able to write even where nobody can. */
    private static function takesFiles(string $directory): bool
    {
        $probe = $directory . '/write-buffer-doctor-' . bin2hex(random_bytes(6));
        return @file_put_contents($probe, '') !== false && unlink($probe);
    }
}
