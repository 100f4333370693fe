<?php

declare(strict_types=1);

namespace WriteBuffer\Exception;

/**
 * A bound is reached and no room came in time. Supplied by the extension where it is loaded.
 */
final class BufferFullException extends \RuntimeException implements WriteBufferException
{
}
