<?php

declare(strict_types=1);

namespace WriteBuffer\Sync;

use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Exception\InvalidRowException;

/**
 * All tables of a buffer: orders, trades and balances, and what options['tables'] makes of them.
 */
final class Declarations
{
    /** As the extension declares them. */
    public const PREDECLARED = [
        'orders' => ['mode' => 'upsert', 'table' => 'orders', 'key' => ['id' => 'id']],
        'trades' => ['mode' => 'insert', 'table' => 'order_transactions'],
        'balances' => [
            'mode' => 'delta',
            'table' => 'spot_{currency}_accounts',
            'key' => ['user_id' => 'id'],
            'delta' => ['balance', 'available_balance', 'usd_amount'],
        ],
    ];

    /** @var array<string, Declaration> */
    private array $tables = [];

    /**
     * @param array<mixed> $tables as options['tables']
     * @throws ConfigurationException
     */
    public function __construct(array $tables = [])
    {
        foreach ([self::PREDECLARED, $tables] as $declared) {
            foreach ($declared as $name => $table) {
                $this->tables[$name] = Declaration::of((string) $name, $table, $this->tables[$name] ?? null);
            }
        }
    }

    /** @throws InvalidRowException */
    public function table(string $name): Declaration
    {
        return $this->tables[$name] ?? throw new InvalidRowException(
            "Table \"$name\" is not declared; declared are: " . implode(', ', array_keys($this->tables)) . '. Add it to options[\'tables\'].'
        );
    }

    /** @return array<string, Declaration> */
    public function all(): array
    {
        return $this->tables;
    }
}
