<?php

declare(strict_types=1);

namespace App\Spot\Input;

enum CommandAction
{
    case Place;
    case Reduce;
    case Cancel;
}
