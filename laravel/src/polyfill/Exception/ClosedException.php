<?php

declare(strict_types=1);

namespace WriteBuffer\Exception;

/**
 * The buffer is closed. Supplied by the extension where it is loaded.
 */
final class ClosedException extends \RuntimeException implements WriteBufferException
{
}
