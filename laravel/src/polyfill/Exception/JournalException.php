<?php

declare(strict_types=1);

namespace WriteBuffer\Exception;

/**
 * The journal cannot be written or recovered. Supplied by the extension where it is loaded.
 */
final class JournalException extends \RuntimeException implements WriteBufferException
{
}
