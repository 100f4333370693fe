<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Doctor;

use WriteBuffer;
use WriteBuffer\Exception\WriteBufferException;
use WriteBuffer\Laravel\BufferSettings;
use WriteBuffer\Laravel\Extension;

/**
 * The extension, its version, and whether it takes the options of each buffer.
 */
final class ExtensionCheck implements Check
{
    /** @param list<BufferSettings> $buffers */
    public function __construct(private readonly Extension $extension, private readonly array $buffers)
    {
    }

    public function findings(): iterable
    {
        $problem = $this->extension->problem();
        if ($problem !== null) {
            yield Finding::fault('extension', $problem);
            return;
        }
        yield Finding::ok('extension', "write_buffer {$this->extension->version} in PHP " . PHP_VERSION . '; FPM may have another php.ini');
        foreach ($this->buffers as $settings) {
            try {
                // Without a journal nothing is opened before the first row.
                $buffer = new WriteBuffer(options: ['journal' => 'off'] + $settings->options());
                $buffer->close();
                yield Finding::ok("options of $settings->name", 'accepted by the extension');
            } catch (WriteBufferException $error) {
                yield Finding::fault("options of $settings->name", $error->getMessage());
            }
        }
    }
}
