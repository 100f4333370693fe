<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

/**
 * An enum backed by text.
 */
enum Status: string
{
    case New = 'new';
    case Executed = 'executed';
}
