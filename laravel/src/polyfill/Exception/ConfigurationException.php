<?php

declare(strict_types=1);

namespace WriteBuffer\Exception;

/**
 * An option that is unknown, of a wrong type or out of bounds. Supplied by the extension where it is loaded.
 */
final class ConfigurationException extends \InvalidArgumentException implements WriteBufferException
{
}
