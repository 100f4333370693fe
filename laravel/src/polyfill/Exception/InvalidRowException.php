<?php

declare(strict_types=1);

namespace WriteBuffer\Exception;

/**
 * A row that can never be written. Supplied by the extension where it is loaded.
 */
final class InvalidRowException extends \InvalidArgumentException implements WriteBufferException
{
}
