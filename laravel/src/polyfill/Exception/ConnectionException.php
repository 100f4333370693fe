<?php

declare(strict_types=1);

namespace WriteBuffer\Exception;

/**
 * The database could not be reached even once. Supplied by the extension where it is loaded.
 */
final class ConnectionException extends \RuntimeException implements WriteBufferException
{
}
