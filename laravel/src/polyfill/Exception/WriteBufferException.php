<?php

declare(strict_types=1);

namespace WriteBuffer\Exception;

/**
 * What every exception of WriteBuffer implements. Supplied by the extension where it is loaded.
 */
interface WriteBufferException extends \Throwable
{
}
