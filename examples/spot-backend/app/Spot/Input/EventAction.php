<?php

declare(strict_types=1);

namespace App\Spot\Input;

enum EventAction: string
{
    case Created = 'created';
    case Changed = 'changed';
    case Deleted = 'deleted';
}
