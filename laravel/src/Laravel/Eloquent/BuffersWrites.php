<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Eloquent;

use Illuminate\Container\Container;
use WriteBuffer\Exception\ConfigurationException;
use WriteBuffer\Exception\InvalidRowException;
use WriteBuffer\Exception\TransactionException;
use WriteBuffer\Laravel\Buffer;
use WriteBuffer\Laravel\Contracts\Buffers;
use WriteBuffer\Sync\Decimal;
use WriteBuffer\Sync\Declaration;

/**
 * A model whose rows go through a buffer. Its table is declared in config/write-buffer.php
 * under the name of bufferedTable(); casts, timestamps, table and connection are the model's.
 *
 * No model events are fired and no relations touched. A generated key is not given back. Until
 * the rows are committed no query finds them; waitFor() with the number that is returned waits.
 *
 * @mixin \Illuminate\Database\Eloquent\Model
 */
trait BuffersWrites
{
    private bool $wasAddedWithoutKey = false;

    /** Name of the buffer in config/write-buffer.php; null is its default. */
    public static function bufferName(): ?string
    {
        return null;
    }

    /** Name of the declaration. */
    public function bufferedTable(): string
    {
        return $this->getTable();
    }

    /**
     * Inserts a new model, or writes the changed columns of one that exists.
     *
     * @return int|null the row's sequence number; null when nothing has changed
     */
    public function saveBuffered(): ?int
    {
        $declaration = $this->bufferDeclaration();
        if ($this->exists && !$this->isDirty()) {
            return null;
        }
        if ($this->wasAddedWithoutKey) {
            throw new InvalidRowException(
                "Table \"$declaration->name\": this row was added before, and its generated key is not known, so that it cannot be changed; read it again, or make another model."
            );
        }
        $sequence = $this->buffer()->add($declaration->name, $this->bufferRow($declaration));
        $isNamed = $this->getKey() !== null;
        $this->wasAddedWithoutKey = !$isNamed;
        $this->wasRecentlyCreated = !$this->exists && $isNamed;
        $this->exists = $this->exists || $isNamed;
        $this->syncChanges();
        $this->syncOriginal();
        return $sequence;
    }

    /**
     * Adds to a column that the declaration lists under `delta`.
     *
     * @param int|float|string $amount an int or a decimal string; a float is refused, where PHP would cut it to an int
     * @param array<string, mixed> $extra other columns to set
     * @return int the row's sequence number
     */
    public function incrementBuffered(string $column, int|float|string $amount = 1, array $extra = []): int
    {
        $declaration = $this->bufferDeclaration();
        if (!in_array($column, $declaration->delta, true)) {
            throw new ConfigurationException(
                "Table \"$declaration->name\": $column is no sum; declare 'mode' => 'delta' and list it under 'delta' in config/write-buffer.php."
            );
        }
        $plain = self::plainAmount($amount) ?? throw new InvalidRowException(
            "Table \"$declaration->name\", column \"$column\": the " . get_debug_type($amount) . " \"$amount\" is no amount; give an int or a decimal string."
        );
        $this->fillForBuffer($extra);
        $changed = array_intersect_key($this->getAttributes(), $extra);
        if ($this->usesTimestamps() && $this->getUpdatedAtColumn() !== null) {
            $this->setUpdatedAt($this->freshTimestamp());
            $changed[$this->getUpdatedAtColumn()] = $this->getAttributes()[$this->getUpdatedAtColumn()];
        }
        $this->assertBufferable($declaration, $changed);
        $sequence = $this->buffer()->add($declaration->name, $this->bufferKey($declaration) + [$column => $plain] + $changed);
        if (isset($this->attributes[$column])) {
            $before = Decimal::plain((string) $this->attributes[$column]) ?? '0';
            $this->attributes[$column] = Decimal::sum($before, $plain);
            unset($this->classCastCache[$column]);
        }
        $this->syncOriginalAttributes([$column, ...array_keys($changed)]);
        return $sequence;
    }

    /** @param array<string, mixed> $extra other columns to set */
    public function decrementBuffered(string $column, int|float|string $amount = 1, array $extra = []): int
    {
        $plain = self::plainAmount($amount);
        return $this->incrementBuffered($column, match (true) {
            // It says so.
            $plain === null => $amount,
            str_starts_with($plain, '-') => substr($plain, 1),
            default => "-$plain",
        }, $extra);
    }

    /**
     * Inserts rows as one atomic group, or as part of the one that is open, with casts and timestamps.
     *
     * @param list<array<string, mixed>> $rows
     * @return int the last row's sequence number
     */
    public static function insertBuffered(array $rows): int
    {
        $model = new static();
        $declaration = $model->bufferDeclaration();
        $buffer = $model->buffer();
        // All are made and looked at first, so that a wrong one leaves none of them in a group that is open.
        $made = array_map(static function (array $row) use ($declaration): array {
            $model = new static();
            $model->fillForBuffer($row);
            $made = $model->bufferRow($declaration);
            $declaration->row($made);
            return $made;
        }, $rows);
        $add = static function () use ($buffer, $declaration, $made): int {
            $sequence = $buffer->sequence();
            foreach ($made as $row) {
                $sequence = $buffer->add($declaration->name, $row);
            }
            return $sequence;
        };
        try {
            return $buffer->transaction($add);
        } catch (TransactionException) {
            return $add();
        }
    }

    private static function plainAmount(int|float|string $amount): ?string
    {
        return is_float($amount) ? null : Decimal::plain((string) $amount);
    }

    private function buffer(): Buffer
    {
        return Container::getInstance()->make(Buffers::class)->buffer(static::bufferName());
    }

    private function bufferDeclaration(): Declaration
    {
        $settings = Container::getInstance()->make(Buffers::class)->settings(static::bufferName());
        $connection = $this->getConnectionName() ?? Container::getInstance()->make('db')->getDefaultConnection();
        if ($connection !== $settings->connectionName()) {
            throw new ConfigurationException(
                static::class . " uses the connection [$connection], and buffer [$settings->name] writes to [{$settings->connectionName()}]:"
                . ' return another buffer from bufferName(), or correct the `connection` of one of them.'
            );
        }
        return $settings->declarations()->table($this->bufferedTable());
    }

    /**
     * All of a new model, else what has changed; timestamps and unique ids as save() sets them.
     *
     * @return array<string, mixed> by the declaration's fields
     */
    private function bufferRow(Declaration $declaration): array
    {
        // Since Laravel 9.30.
        if (!$this->exists && method_exists($this, 'setUniqueIds') && $this->usesUniqueIds()) {
            $this->setUniqueIds();
        }
        if ($this->usesTimestamps()) {
            $this->updateTimestamps();
        }
        $changed = $this->exists ? $this->getDirty() : $this->getAttributes();
        $key = array_flip($declaration->key);
        if ($this->exists && array_intersect_key($changed, $key) !== []) {
            throw new InvalidRowException("Table \"$declaration->name\": the key of a row that exists has changed; use save().");
        }
        $this->assertBufferable($declaration, $changed);
        $version = $declaration->version === null ? [] : [$declaration->version => $this->getAttributes()[$declaration->version] ?? null];
        return $this->bufferKey($declaration) + array_diff_key($changed, $key) + $version;
    }

    /** @param array<string, mixed> $row */
    private function assertBufferable(Declaration $declaration, array $row): void
    {
        $sums = $this->exists ? array_intersect($declaration->delta, array_keys($row)) : [];
        if ($sums !== []) {
            throw new InvalidRowException(
                "Table \"$declaration->name\": " . implode(', ', $sums) . ' is a sum, which takes no new value; use incrementBuffered() or decrementBuffered().'
            );
        }
        if ($this->exists && $declaration->mode === 'insert') {
            throw new ConfigurationException(
                "Table \"$declaration->name\" has the mode insert, and this row exists: declare 'mode' => 'upsert' or 'update' with its 'key'."
            );
        }
    }

    /** @return array<string, mixed> the declared key, as the database has it, and what fills the table's name */
    private function bufferKey(Declaration $declaration): array
    {
        $key = [];
        foreach ($declaration->key as $field => $column) {
            $key[$field] = $this->getRawOriginal($column, $this->getAttributes()[$column] ?? null);
        }
        foreach ($declaration->nameFields() as $field) {
            $key += [$field => $this->getAttributes()[$field] ?? null];
        }
        return $key;
    }

    /** @param array<string, mixed> $values past $fillable, but with mutators and casts */
    private function fillForBuffer(array $values): void
    {
        foreach ($values as $column => $value) {
            $this->setAttribute($column, $value);
        }
    }
}
