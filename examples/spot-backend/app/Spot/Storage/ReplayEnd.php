<?php

declare(strict_types=1);

namespace App\Spot\Storage;

use RuntimeException;

/** A replay has got as far as it is to go. */
final class ReplayEnd extends RuntimeException
{
}
