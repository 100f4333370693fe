<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Doctor;

use WriteBuffer;
use WriteBuffer\Exception\JournalException;
use WriteBuffer\Exception\WriteBufferException;
use WriteBuffer\Laravel\BufferSettings;
use WriteBuffer\Laravel\Extension;

/**
 * The extension, its version, and whether it takes the options of each buffer.
 */
final class ExtensionCheck implements Check
{
    /**
     * @param list<BufferSettings> $buffers
     * @param bool $isSync whether rows are written at once, without it
     */
    public function __construct(private readonly Extension $extension, private readonly array $buffers, private readonly bool $isSync)
    {
    }

    public function findings(): iterable
    {
        $problem = $this->extension->problem();
        if ($problem !== null) {
            yield $this->isSync
                ? Finding::note('extension', "$problem It is not needed while rows are written at once, as they are here")
                : Finding::fault('extension', $problem);
            return;
        }
        yield Finding::ok('extension', "write_buffer {$this->extension->version} in PHP " . PHP_VERSION . '; FPM may have another php.ini');
        foreach ($this->buffers as $settings) {
            $problem = self::problemOf($settings);
            yield $problem === null
                ? Finding::ok("options of $settings->name", 'accepted by the extension')
                : Finding::fault("options of $settings->name", $problem);
        }
    }

    /** The journal comes last, and there is none in a directory that is a file: nothing is opened here. */
    private static function problemOf(BufferSettings $settings): ?string
    {
        try {
            $options = $settings->options() + ['name' => $settings->name];
            $buffer = new WriteBuffer(options: (isset($options['journal_dir']) ? ['journal_dir' => __FILE__] : []) + $options);
            $buffer->close();
        } catch (JournalException) {
            return null;
        } catch (WriteBufferException $error) {
            return $error->getMessage();
        }
        return null;
    }
}
