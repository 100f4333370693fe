<?php

declare(strict_types=1);

namespace App\Spot;

use InvalidArgumentException;
use OverflowException;

/**
 * Decimal text to and from integers of a fixed scale, exactly: nothing here is a float.
 *
 * With scale 8, "0.5" is 50,000,000.
 */
final class Decimal
{
    /** @throws InvalidArgumentException if the text is no decimal, or has more decimals than the scale */
    public static function parse(string $text, int $scale): int
    {
        if (preg_match('/^(-?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d{1,3}))?$/D', $text, $part) !== 1) {
            throw new InvalidArgumentException("'{$text}' is no decimal number");
        }

        [, $sign, $whole, $fraction, $exponent] = $part + [3 => '', 4 => '0'];
        $fraction = rtrim($fraction, '0');
        $digits = ltrim($whole . $fraction, '0');
        $zeros = $scale - strlen($fraction) + (int) $exponent;

        if ($digits === '') {
            return 0;
        }

        if ($zeros < 0) {
            // 1.50e-1 at scale 2 still fits when what is cut is zeros.
            if (strlen($digits) <= -$zeros || trim(substr($digits, $zeros), '0') !== '') {
                throw new InvalidArgumentException("'{$text}' has more than {$scale} decimals");
            }

            $digits = substr($digits, 0, $zeros);
        } else {
            $digits .= str_repeat('0', $zeros);
        }

        $value = filter_var($sign . $digits, FILTER_VALIDATE_INT);

        return is_int($value) ? $value : throw new OverflowException("'{$text}' does not fit 64 bits at scale {$scale}");
    }

    public static function format(int $value, int $scale): string
    {
        $digits = str_pad((string) $value, $scale + 1, '0', STR_PAD_LEFT);

        if ($value < 0) {
            $digits = str_pad(substr((string) $value, 1), $scale + 1, '0', STR_PAD_LEFT);

            return '-' . substr($digits, 0, -$scale) . '.' . substr($digits, -$scale);
        }

        return substr($digits, 0, -$scale) . '.' . substr($digits, -$scale);
    }

    /** The shortest text of the same number: databases differ in the zeros they add. */
    public static function canonical(string $text): string
    {
        $short = str_contains($text, '.') ? rtrim(rtrim($text, '0'), '.') : $text;

        return $short === '' || $short === '-0' || $short === '-' ? '0' : $short;
    }

    /** A product that has to stay an integer: PHP would quietly go on with a float. */
    public static function product(int $left, int $right): int
    {
        $product = $left * $right;

        return is_int($product) ? $product : throw new OverflowException("{$left} * {$right} does not fit 64 bits");
    }

    public static function sum(int $left, int $right): int
    {
        $sum = $left + $right;

        return is_int($sum) ? $sum : throw new OverflowException("{$left} + {$right} does not fit 64 bits");
    }
}
