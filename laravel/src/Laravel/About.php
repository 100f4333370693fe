<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel;

use Illuminate\Container\Container;

/**
 * The section of `artisan about`.
 */
final class About
{
    /** @return array<string, string> */
    public static function facts(): array
    {
        $config = Container::getInstance()->make('config');
        $facts = ['Extension' => Container::getInstance()->make(Extension::class)->version ?? 'not loaded'];
        foreach (BufferSettings::readable($config) as $settings) {
            $facts["Buffer $settings->name"] = $settings->connectionName() . ', journal ' . ($settings->option('journal') ?? 'as in php.ini');
        }
        return $facts;
    }
}
