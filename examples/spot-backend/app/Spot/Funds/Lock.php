<?php

declare(strict_types=1);

namespace App\Spot\Funds;

/** How the funds of an order were locked. */
enum Lock
{
    /** They do not reach. */
    case Refused;
    /** The step that places the order takes them. */
    case InStep;
    /** The database has taken them already. */
    case Reserved;
}
