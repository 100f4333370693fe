<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use Reflection;
use ReflectionMethod;
use ReflectionParameter;

/**
 * A method as one line of PHP, as the extension itself declares it.
 */
final class Signature
{
    public static function of(ReflectionMethod $method): string
    {
        $parameters = implode(', ', array_map(self::parameter(...), $method->getParameters()));
        $type = $method->getReturnType() ?? $method->getTentativeReturnType();
        return implode(' ', Reflection::getModifierNames($method->getModifiers()))
            . " function {$method->getName()}($parameters)" . ($type === null ? '' : ": $type");
    }

    private static function parameter(ReflectionParameter $parameter): string
    {
        $default = '';
        if ($parameter->isDefaultValueAvailable()) {
            $value = $parameter->getDefaultValue();
            $default = ' = ' . match (true) {
                $value === [] => '[]',
                $value === null => 'null',
                default => var_export($value, true),
            };
        }
        return ltrim("{$parameter->getType()} ") . ($parameter->isVariadic() ? '...' : '')
            . '$' . $parameter->getName() . $default;
    }
}
