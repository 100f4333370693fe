<?php

declare(strict_types=1);

namespace WriteBuffer\Exception;

/**
 * beginTransaction() with a group open, or commit() or rollBack() without one. Supplied by the extension where it is loaded.
 */
final class TransactionException extends \LogicException implements WriteBufferException
{
}
