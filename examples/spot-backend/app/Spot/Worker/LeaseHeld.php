<?php

declare(strict_types=1);

namespace App\Spot\Worker;

use RuntimeException;

/** Another worker has the market. */
final class LeaseHeld extends RuntimeException
{
}
