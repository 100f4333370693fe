<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Quarantine;

use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Laravel\BufferSettings;

/**
 * The file of a buffer's refused groups, which the extension appends to; here it is only read.
 */
final class QuarantineFile
{
    private function __construct(public readonly string $path)
    {
    }

    public static function of(BufferSettings $settings): ?self
    {
        $directory = $settings->journalDirectory();
        return $directory === null ? null : new self("$directory/$settings->name.quarantine.jsonl");
    }

    /** @throws ConfigurationException when there is none: somebody has named it */
    public static function at(string $path): self
    {
        return is_file($path) ? new self($path) : throw new ConfigurationException("There is no file $path; php artisan write-buffer:quarantine lists them.");
    }

    /** @return list<string> files of rows that could not be written at an end */
    public static function spilled(BufferSettings $settings): array
    {
        $directory = $settings->journalDirectory();
        $entries = $directory === null ? [] : (@scandir($directory) ?: []);
        $names = preg_grep('/^' . preg_quote($settings->name, '/') . '\.spilled-.*\.jsonl$/D', $entries) ?: [];
        return array_values(array_map(static fn (string $name): string => "$directory/$name", $names));
    }

    /**
     * @return iterable<Group>
     * @throws ConfigurationException when the file is another user's
     */
    public function groups(): iterable
    {
        if (!file_exists($this->path)) {
            return;
        }
        $file = @fopen($this->path, 'r');
        if ($file === false) {
            throw new ConfigurationException("$this->path cannot be read: run this as the user whose processes write, or as root.");
        }
        try {
            for ($number = 1; ($line = fgets($file)) !== false; $number++) {
                $line = rtrim($line, "\n");
                if ($line !== '') {
                    $data = json_decode($line, true);
                    yield new Group($number, is_array($data) && isset($data['first'], $data['last']) ? $data : null, $line);
                }
            }
        } finally {
            fclose($file);
        }
    }
}
