<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Support;

use Reflection;
use ReflectionClass;
use ReflectionMethod;
use ReflectionParameter;

/**
 * What is declared, as lines of PHP.
 */
final class Signature
{
    /**
     * A class with all that is public in it, a line each.
     *
     * @return list<string>
     */
    public static function ofClass(string $name): array
    {
        $class = new ReflectionClass($name);
        $interfaces = $class->getInterfaceNames();
        sort($interfaces);
        $parent = $class->getParentClass();
        $lines = [($class->isFinal() ? 'final ' : '') . ($class->isInterface() ? 'interface ' : 'class ') . $name
            . ($parent === false ? '' : " extends {$parent->getName()}") . ' implements ' . implode(', ', $interfaces)];
        foreach ($class->getReflectionConstants() as $constant) {
            $lines[] = "const {$constant->getName()} = " . var_export($constant->getValue(), true);
        }
        foreach ($class->getMethods(ReflectionMethod::IS_PUBLIC) as $method) {
            $lines[] = "{$method->getDeclaringClass()->getName()}: " . self::of($method);
        }
        sort($lines);
        return $lines;
    }

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
