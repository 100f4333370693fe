<?php

declare(strict_types=1);

namespace WriteBuffer\Sync;

/**
 * Exact sums of decimal texts, in the bounds of DECIMAL(65,30).
 */
final class Decimal
{
    /** Digits a DECIMAL(65,30) keeps behind the point. */
    private const SCALE = 30;
    private const DIGITS = 65;
    /** An exponent beyond this is no amount, but a way to fill memory. */
    private const POINT_MAX = 10_000;

    /** The number without an exponent, as bcmath takes it; null if it is none or too long. */
    public static function plain(string $text): ?string
    {
        if (!preg_match('/^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,4}))?$/D', $text, $part) || "$part[2]" . ($part[3] ?? '') === '') {
            return null;
        }
        $fraction = $part[3] ?? '';
        $digits = $part[2] . $fraction;
        $point = strlen($part[2]) + (int) ($part[4] ?? 0);
        if (abs($point) > self::POINT_MAX) {
            return null;
        }
        $digits = str_repeat('0', max(0, -$point)) . str_pad($digits, max(0, $point), '0');
        $whole = ltrim(substr($digits, 0, max(0, $point)), '0');
        $rest = rtrim(substr($digits, max(0, $point)), '0');
        if (strlen($whole . $rest) > self::DIGITS || strlen($rest) > self::SCALE) {
            return null;
        }
        return ($part[1] === '-' ? '-' : '') . ($whole === '' ? '0' : $whole) . ($rest === '' ? '' : ".$rest");
    }

    /** The sum of two plain numbers, without zeros at the end. */
    public static function sum(string $a, string $b): string
    {
        $sum = bcadd($a, $b, self::SCALE);
        return str_contains($sum, '.') ? rtrim(rtrim($sum, '0'), '.') : $sum;
    }
}
