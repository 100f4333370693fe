<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Doctor;

use Illuminate\Contracts\Config\Repository;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Laravel\BufferSettings;

/**
 * Whether the buffers of config/write-buffer.php can be read, the default one among them.
 */
final class ConfigCheck implements Check
{
    public function __construct(private readonly Repository $config)
    {
    }

    public function findings(): iterable
    {
        $default = BufferSettings::defaultName($this->config);
        foreach (array_unique([$default, ...BufferSettings::names($this->config)]) as $name) {
            try {
                BufferSettings::of($name, $this->config);
            } catch (ConfigurationException $error) {
                yield Finding::fault('config', $error->getMessage());
            }
        }
        if (BufferSettings::isSync($this->config)) {
            yield Finding::note('config', 'rows are written at once, without buffer and journal (WRITE_BUFFER_SYNC, or the environment testing)');
        }
        if ($this->config->get('write-buffer.status.path') !== null && !is_string($this->config->get('write-buffer.status.path'))) {
            yield Finding::fault('config', '`status.path` in config/write-buffer.php is no string; it takes a directory, or null');
        }
        $waits = $this->config->get('write-buffer.drain');
        foreach (is_array($waits) ? $waits : [] as $at => $wait) {
            if (!in_array($wait, [null, false], true) && (!is_numeric($wait) || $wait < 0)) {
                yield Finding::fault('config', "`drain.$at` in config/write-buffer.php is " . json_encode($wait) . '; it takes ms from 0, or null');
            }
        }
    }
}
