<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

/**
 * An enum without backing values.
 */
enum Side
{
    case Buy;
    case Sell;
}
