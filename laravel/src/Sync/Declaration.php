<?php

declare(strict_types=1);

namespace WriteBuffer\Sync;

use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Exception\InvalidRowException;

/**
 * A declared table, as in options['tables']: what the native buffer checks of rows, checked here.
 */
final class Declaration
{
    private const MODES = ['insert', 'upsert', 'update', 'delta'];
    private const SETTINGS = ['mode', 'table', 'key', 'delta', 'version', 'missing', 'unique'];

    /**
     * @param string $table the database table, or a template
     * @param array<string, string> $key from row field to column
     * @param list<string> $delta
     * @param list<string> $unique
     */
    private function __construct(
        public readonly string $name,
        public readonly string $mode,
        public readonly string $table,
        public readonly array $key,
        public readonly array $delta,
        public readonly ?string $version,
        public readonly string $missing,
        public readonly array $unique,
    ) {
    }

    /**
     * @param self|null $base the predeclared table of that name
     * @throws ConfigurationException
     */
    public static function of(string $name, mixed $declared, ?self $base): self
    {
        if (!is_array($declared)) {
            throw self::wrong($name, 'the declaration is ' . get_debug_type($declared) . '; it takes an array');
        }
        foreach (array_diff(array_keys($declared), self::SETTINGS) as $unknown) {
            throw self::wrong($name, "unknown setting '$unknown'; known are " . implode(', ', self::SETTINGS));
        }
        foreach ($declared as $setting => $value) {
            $isList = is_array($value) && in_array($setting, ['key', 'delta', 'unique'], true);
            if ($value !== null && ($isList ? $value !== array_filter($value, 'is_string') : !is_string($value))) {
                throw self::wrong($name, "'$setting' is " . get_debug_type($value) . '; it takes a name' . ($isList ? ' or a list of names' : ''));
            }
        }
        $key = $declared['key'] ?? $base?->key ?? [];
        $declaration = new self(
            $name,
            $declared['mode'] ?? $base?->mode ?? throw self::wrong($name, "'mode' is missing; it takes insert, upsert, update or delta"),
            $declared['table'] ?? $base?->table ?? $name,
            self::key((array) $key),
            array_values((array) ($declared['delta'] ?? $base?->delta ?? [])),
            array_key_exists('version', $declared) ? $declared['version'] : $base?->version,
            $declared['missing'] ?? $base?->missing ?? 'error',
            array_values((array) ($declared['unique'] ?? $base?->unique ?? [])),
        );
        $declaration->check();
        return $declaration;
    }

    /**
     * The fields that name a row: the key, else the unique key.
     *
     * @return array<string, string> from row field to column
     */
    public function identity(): array
    {
        return $this->key !== [] || $this->unique === [] ? $this->key : array_combine($this->unique, $this->unique);
    }

    /** @return list<string> the fields that fill the table's name */
    public function nameFields(): array
    {
        preg_match_all('/\{([^}]*)\}/', $this->table, $found);
        return $found[1];
    }

    /**
     * @param array<mixed> $row
     * @throws InvalidRowException
     */
    public function row(array $row): Row
    {
        $row = $this->values($row);
        $key = $this->keyOf($row);
        if ($this->version !== null && !array_key_exists($this->version, $row)) {
            throw $this->lacks('version column', $this->version);
        }
        $others = array_diff_key($row, $this->identity(), array_flip($this->nameFields()));
        foreach (array_intersect_key($others, array_flip($this->identity())) as $column => $_) {
            throw new InvalidRowException("Table \"$this->name\": column \"$column\" is given twice.");
        }
        $deltas = [];
        foreach (array_intersect_key($others, array_flip($this->delta)) as $column => $value) {
            $deltas[$column] = $this->amount($column, $value);
        }
        if ($others === [] && in_array($this->mode, ['update', 'delta'], true)) {
            throw new InvalidRowException("Table \"$this->name\": the row changes nothing; give a column beside the key.");
        }
        return new Row($this->target($row), $key, $deltas, array_diff_key($others, $deltas));
    }

    /**
     * The row that a key names.
     *
     * @param int|string|array<mixed> $key the value of a single key column, else all fields by name
     * @throws InvalidRowException
     */
    public function named(int|string|array $key): Row
    {
        $fields = [...array_keys($this->identity()), ...$this->nameFields()];
        if ($this->identity() === []) {
            throw new InvalidRowException("Table \"$this->name\" has mode insert and no key, so no row of it can be named; declare 'key' or 'unique'.");
        }
        if (!is_array($key)) {
            if (count(array_unique($fields)) > 1) {
                throw new InvalidRowException("Table \"$this->name\": one value does not name a row; give " . implode(', ', $fields) . ' by name.');
            }
            $key = [$fields[0] => $key];
        }
        $row = $this->values($key);
        return new Row($this->target($row), $this->keyOf($row), [], []);
    }

    /**
     * @param array<mixed> $row
     * @return array<string, int|float|string|null>
     */
    private function values(array $row): array
    {
        $values = [];
        foreach ($row as $column => $value) {
            if (!self::isIdentifier($column)) {
                $shown = substr((string) json_encode($column, JSON_INVALID_UTF8_SUBSTITUTE), 0, 80);
                throw new InvalidRowException("Table \"$this->name\": $shown is no column name; names are 1 to 64 of A-Z, a-z, 0-9 and _.");
            }
            if (is_bool($value) && in_array($column, $this->delta, true)) {
                throw $this->refused($column, 'a bool cannot be added; give the amount as a string or int');
            }
            $values[$column] = $this->value($column, $value);
        }
        return $values;
    }

    private function value(string $column, mixed $value): int|float|string|null
    {
        return match (true) {
            is_bool($value) => (int) $value,
            is_float($value) && !is_finite($value) => throw $this->refused($column, var_export($value, true) . ' is no number a database can hold; give a finite one or null'),
            $value === null, is_scalar($value) => $value,
            $value instanceof \DateTimeInterface => preg_replace('/\.000000$/', '', $value->format('Y-m-d H:i:s.u')),
            $value instanceof \BackedEnum => $value->value,
            $value instanceof \Stringable => (string) $value,
            default => throw $this->refused($column, 'a value of type ' . get_debug_type($value)
                . ' cannot be written; give null, bool, int, float, string, DateTimeInterface, a backed enum or Stringable'),
        };
    }

    private function amount(string $column, int|float|string|null $value): string
    {
        $plain = is_int($value) || is_string($value) ? Decimal::plain((string) $value) : null;
        return $plain ?? throw $this->refused($column, get_debug_type($value) . ' given, which is no amount; give an int or a decimal string');
    }

    /**
     * @param array<string, int|float|string|null> $row
     * @return array<string, int|string> by column
     */
    private function keyOf(array $row): array
    {
        $key = [];
        foreach ($this->identity() as $field => $column) {
            if (!array_key_exists($field, $row)) {
                throw $this->lacks('key column', $field);
            }
            if ($row[$field] === null || is_float($row[$field])) {
                throw $this->refused($field, get_debug_type($row[$field]) . ' is no key; give a string or int');
            }
            $key[$column] = $row[$field];
        }
        return $key;
    }

    /** @param array<string, int|float|string|null> $row */
    private function target(array $row): string
    {
        $name = $this->table;
        foreach ($this->nameFields() as $field) {
            if (!array_key_exists($field, $row)) {
                throw $this->lacks('table name part', $field);
            }
            if (!self::isIdentifier((string) $row[$field]) || is_float($row[$field])) {
                throw $this->refused($field, "the value cannot be part of the table name \"$this->table\"; names are 1 to 64 of A-Z, a-z, 0-9 and _");
            }
            $name = str_replace("{{$field}}", (string) $row[$field], $name);
        }
        if (!self::isIdentifier($name)) {
            throw new InvalidRowException("Table \"$this->name\": \"$name\" is no table name; names are 1 to 64 of A-Z, a-z, 0-9 and _.");
        }
        return $name;
    }

    private function check(): void
    {
        $wrong = fn (string $what): ConfigurationException => self::wrong($this->name, $what);
        if (!in_array($this->mode, self::MODES, true)) {
            throw $wrong("'mode' is \"$this->mode\"; it takes insert, upsert, update or delta");
        }
        if (!preg_match('/^(?:[A-Za-z0-9_]|\{[A-Za-z0-9_]{1,64}\})+$/D', $this->table)) {
            throw $wrong("'table' is \"$this->table\", which is no table name");
        }
        if (!in_array($this->missing, ['error', 'insert'], true)) {
            throw $wrong("'missing' is \"$this->missing\"; it takes error or insert");
        }
        foreach ([...array_keys($this->key), ...$this->key, ...$this->delta, ...$this->unique, ...array_filter([$this->version])] as $column) {
            if (!self::isIdentifier($column)) {
                throw $wrong(json_encode($column) . ' is no column name');
            }
        }
        if ($this->mode !== 'insert' && $this->key === []) {
            throw $wrong("mode $this->mode needs 'key', the columns that name a row");
        }
        if (($this->mode === 'delta') !== ($this->delta !== [])) {
            throw $wrong("'delta', the columns that are summed, goes with mode delta, and mode delta with it");
        }
        if ($this->version !== null && in_array($this->mode, ['insert', 'delta'], true)) {
            throw $wrong("'version' goes with mode upsert or update, not $this->mode");
        }
        if ($this->unique !== [] && $this->mode !== 'insert') {
            throw $wrong("'unique' goes with mode insert, not $this->mode; use 'key'");
        }
    }

    /**
     * 'id', ['a', 'b'] or ['user_id' => 'id'].
     *
     * @param array<int|string, string> $key
     * @return array<string, string>
     */
    private static function key(array $key): array
    {
        $columns = [];
        foreach ($key as $field => $column) {
            $columns[is_int($field) ? $column : $field] = $column;
        }
        return $columns;
    }

    private static function isIdentifier(mixed $name): bool
    {
        return is_string($name) && preg_match('/^[A-Za-z0-9_]{1,64}$/D', $name) === 1;
    }

    private function lacks(string $what, string $field): InvalidRowException
    {
        return new InvalidRowException("Table \"$this->name\": the row has no $what \"$field\"; add it to the row.");
    }

    private function refused(string $column, string $why): InvalidRowException
    {
        return new InvalidRowException("Table \"$this->name\", column \"$column\": $why.");
    }

    private static function wrong(string $name, string $what): ConfigurationException
    {
        return new ConfigurationException("Table \"$name\": $what.");
    }
}
