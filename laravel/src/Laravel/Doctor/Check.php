<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Doctor;

/**
 * One thing the doctor looks at.
 */
interface Check
{
    /** @return iterable<Finding> */
    public function findings(): iterable;
}
