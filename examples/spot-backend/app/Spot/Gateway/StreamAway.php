<?php

declare(strict_types=1);

namespace App\Spot\Gateway;

use RuntimeException;

/** The stream of a market cannot be reached, or takes nothing. */
final class StreamAway extends RuntimeException
{
}
