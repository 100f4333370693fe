<?php

/*
 * The texts of the stubs, by class or Class::method. scripts/generate-stubs.php puts them
 * over what Reflection says; it fails when one is missing or too many.
 */

declare(strict_types=1);

$options = <<<'DOC'
    array{
        dsn?: string,
        tables?: array<string, array{
            mode?: 'insert'|'upsert'|'update'|'delta',
            table?: string,
            key?: string|array<int|string, string>,
            delta?: string|list<string>,
            version?: string|null,
            missing?: 'error'|'insert',
            unique?: string|list<string>
        }>,
        max_buffer_size?: int,
        flush_interval_ms?: int,
        max_retries?: int,
        journal?: 'off'|'process'|'interval'|'always',
        journal_dir?: string,
        journal_sync_ms?: int,
        journal_max_bytes?: int,
        name?: string,
        max_pending_rows?: int,
        max_pending_bytes?: int,
        on_full?: 'block'|'throw',
        block_timeout_ms?: int,
        flush_timeout_ms?: int,
        drain_timeout_ms?: int,
        connect_timeout_ms?: int,
        write_timeout_ms?: int,
        retry_base_ms?: int,
        retry_max_ms?: int,
        on_error?: 'quarantine'|'halt',
        on_quarantine?: callable(array{buffer: string, writer: string, first: int, last: int, reason: string,
            rows: list<array<string, mixed>>, follower: bool, missed: int}): mixed,
        session?: array<string, string|int|bool|null>
    }
    DOC;
$value = 'null|scalar|\DateTimeInterface|\BackedEnum|\Stringable';
$stats = <<<'DOC'
    array{
        buffer: array{orders: int, trades: int, balances: int, total: int},
        config: array{max_buffer_size: int, flush_interval_ms: int, max_retries: int},
        totals: array{orders_written: int, trades_written: int, balances_written: int, flushes: int,
            avg_flush_duration_ms: float},
        tables: array<string, array{accepted: int, pending: int, pending_merged: int, written: int, committed: int,
            quarantined: int, discarded: int, sums: array<string, array{accepted: numeric-string,
            committed: numeric-string, quarantined: numeric-string, discarded: numeric-string,
            pending: numeric-string}>}>,
        pending: array{rows: int, merged: int, bytes: int, oldest_ms: float},
        sequence: int,
        committed_sequence: int,
        merge_ratio: float,
        batches: array{count: int, last_rows: int, last_ms: float, avg_ms: float},
        latency_ms: array{p50: float, p95: float, p99: float, max: float},
        retries: array<int, int>,
        deadlocks: int,
        reconnects: int,
        quarantined: int,
        quarantine: array{groups: int, rows: int, followers: int, held_keys: int},
        discarded: int,
        conserved: bool,
        failures: int,
        last_error: string|null,
        halted: string|null,
        journal: array{mode: string, bytes: int, lag_ms: float},
        server: string|null,
        connected: bool
    }
    DOC;
$added = <<<'DOC'
    @throws \WriteBuffer\Exception\InvalidRowException when the row can never be written; nothing of it is buffered
    @throws \WriteBuffer\Exception\BufferFullException at max_pending_rows or max_pending_bytes: at once with
        on_full=throw or without a DSN, else after block_timeout_ms
    @throws \WriteBuffer\Exception\ConfigurationException when the table does not fit the database
    @throws \WriteBuffer\Exception\ConnectionException when the database could not be reached even once
    @throws \WriteBuffer\Exception\ClosedException after close(), or when the buffer halted on an error
    DOC;

return [
    'WriteBuffer' => <<<'DOC'
        Takes rows at once and writes them in the background: merged by key, in batches, each
        batch in one transaction, each row exactly once.

        add() does no I/O. Rows are written when maxBufferSize merged rows are pending, when
        the oldest is flushIntervalMs old, when flush(), waitFor() or close() asks, and at the
        end of the process. A row that add() accepted ends committed, quarantined (the
        database refuses its group for good, or the group changes a row that one in quarantine
        changes, too), discarded by clear(), or stays pending; a database that is away loses
        nothing. Destroying an object drops no row.

        After a fork the child has a fresh buffer with the same options; what the parent
        buffered is the parent's.
        DOC,
    'WriteBuffer::__construct' => <<<DOC
        Makes a buffer of its own. Nothing is opened or started before the first row.

        What is not given comes from WRITE_BUFFER_MAX_SIZE, WRITE_BUFFER_FLUSH_INTERVAL_MS,
        WRITE_BUFFER_MAX_RETRIES, WRITE_BUFFER_DSN and WRITE_BUFFER_JOURNAL in the environment,
        then from write_buffer.* in INI (never the DSN), then from the defaults.

        The tables `orders` (upsert by id), `trades` (insert into order_transactions) and
        `balances` (delta in spot_{currency}_accounts) are declared already;
        \$options['tables'] adds to them or changes them.

        @param int \$maxBufferSize merged rows that start a write, at least 1
        @param int \$flushIntervalMs age of the oldest row that starts a write, in ms, at least 1
        @param int \$maxRetries attempts after the first before a failure is reported; rows stay pending
            and go on being tried
        @param $options \$options times in ms, sizes in bytes
        @throws \\WriteBuffer\\Exception\\ConfigurationException when an option is unknown, of a wrong type or out of
            bounds; the message names it and never holds a password
        DOC,
    'WriteBuffer::open' => <<<DOC
        The buffer of that name in this process, made when there is none. It outlives its
        handles and the request, and ends with close() or the process.

        @param string \$name 1 to 64 of A-Z, a-z, 0-9, '_', '-' and '.'
        @param $options \$options as for the constructor, the positional ones by name; none: whatever the
            buffer was opened with
        @throws \\WriteBuffer\\Exception\\ConfigurationException when an option is wrong, or the buffer is open with
            other options
        DOC,
    'WriteBuffer::add' => <<<DOC
        Accepts a row for a declared table.

        Several rows of one key become one: of each column the last value, of delta columns
        the exact sum. Amounts for delta columns are ints or decimal strings such as "-1.25" or
        "1e-8", up to 65 digits, 30 of them behind the point; never floats. Fields of the
        table's name, such as the currency of balances, are not written as columns.

        @param string \$table name in options['tables']
        @param array<string, $value> \$row by column; key columns by their field names
        @return int the row's sequence number: 1, 2, 3 … in the order of the calls; inside a transaction the
            number it gets when that commits
        $added
        DOC,
    'WriteBuffer::delete' => <<<DOC
        Accepts the deletion of a row. It takes the place of what is pending for the row;
        deleting a row that is not there is no error.

        @param string \$table name in options['tables']; it needs a key or unique key
        @param int|string|array<string, $value> \$key the value of a single key
            column, else all key and table name fields by name
        @return int its sequence number, as for add()
        $added
        DOC,
    'WriteBuffer::beginTransaction' => <<<'DOC'
        Begins an atomic group: what is added until commit() reaches the database in one
        transaction or is quarantined as a whole. Until then nothing of it is written or
        counted, and only find() sees it. The group belongs to the buffer, not to this object.

        @throws \WriteBuffer\Exception\TransactionException when a group is open: they do not nest
        @throws \WriteBuffer\Exception\ClosedException after close(), or when the buffer halted on an error
        DOC,
    'WriteBuffer::commit' => <<<'DOC'
        Accepts the open group as a whole. It waits for no database; waitFor() does.

        @return int the sequence number of the group's last row; of the last row before it when the group is empty
        @throws \WriteBuffer\Exception\TransactionException when no group is open
        @throws \WriteBuffer\Exception\BufferFullException when there is no room for it; the group stays open
        DOC,
    'WriteBuffer::rollBack' => <<<'DOC'
        Forgets the open group. Its rows use no sequence numbers.

        @throws \WriteBuffer\Exception\TransactionException when no group is open
        DOC,
    'WriteBuffer::transaction' => <<<'DOC'
        Runs a callback between beginTransaction() and commit(). An exception in it rolls the
        group back and comes through.

        @template T
        @param callable(\WriteBuffer): T $callback
        @return T
        @throws \WriteBuffer\Exception\TransactionException when a group is open already
        @throws \WriteBuffer\Exception\BufferFullException when there is no room for the group, which is rolled back
        DOC,
    'WriteBuffer::find' => <<<DOC
        What the database does not have yet of a row, rows in flight and the own open
        transaction included. A reader of the database must lay it over what it read.

        @param string \$table name in options['tables']
        @param int|string|array<string, $value> \$key as for delete()
        @return array<string, null|bool|int|float|string>|null pending columns by the row's field names, delta columns
            as decimal strings of the pending sum; an empty array for a pending deletion; null when nothing is pending
        @throws \\WriteBuffer\\Exception\\InvalidRowException when the table is not declared or the key incomplete
        DOC,
    'WriteBuffer::count' => <<<'DOC'
        Rows pending after merging, those in flight included, those of an open transaction not.
        DOC,
    'WriteBuffer::sequence' => <<<'DOC'
        The last sequence number given out; 0 before the first row.
        DOC,
    'WriteBuffer::committedSequence' => <<<'DOC'
        The last row that is settled: it and all before it are committed, quarantined or discarded.
        DOC,
    'WriteBuffer::waitFor' => <<<'DOC'
        Has a row written now and waits until it and all before it are settled. Handlers of
        signals run meanwhile.

        @param int $sequence what add(), delete() or commit() returned
        @param int|null $timeoutMs in ms; null is flush_timeout_ms
        @return bool false at the timeout, and for a number that was not given out yet
        DOC,
    'WriteBuffer::flush' => <<<DOC
        Has every row added so far written, and waits until each is committed or quarantined.
        Handlers of signals run meanwhile. It throws nothing for what the database does: a
        failed flush says so in its result, and keeps every row pending. The rows of an open
        transaction are not concerned.

        @param int|null \$timeoutMs in ms; null is flush_timeout_ms
        @return \\WriteBuffer\\FlushResult what was written since the previous flush returned, in the background too
        DOC,
    'WriteBuffer::close' => <<<DOC
        Takes no more rows, writes what is pending, and ends the writer. An open transaction is
        rolled back, which the result's errors mention. When it returns and nothing is pending,
        the writer has left the database, unless that took longer than the time given or 2 s.
        What is not written in time goes on being written until the process ends.

        @param int|null \$timeoutMs in ms; null is drain_timeout_ms
        @return \\WriteBuffer\\FlushResult as of flush()
        DOC,
    'WriteBuffer::dispatch' => <<<'DOC'
        Calls on_quarantine for each group that went to quarantine and was not told yet. flush(),
        waitFor() and close() do so, too; this is for loops that call none of them, and waits for
        nothing. An exception from the callable comes through; the groups after that one are told
        by the next call.

        @return int groups told; 0 without on_quarantine
        DOC,
    'WriteBuffer::getTimeSinceLastFlush' => <<<'DOC'
        Milliseconds since the last write, in the background too, or since the buffer was made.
        DOC,
    'WriteBuffer::setLastFlushTime' => <<<'DOC'
        Sets the time from which shouldFlush() counts. For tests ported from the PHP buffer.

        @param float $timeMs milliseconds since 1970, as microtime(true) * 1000
        DOC,
    'WriteBuffer::addOrder' => <<<DOC
        add('orders', ['id' => \$orderId] + \$data).

        @param array<string, $value> \$data columns to set; others keep their values
        $added
        DOC,
    'WriteBuffer::addTrade' => <<<DOC
        add('trades', \$data).

        @param array<string, $value> \$data
        $added
        DOC,
    'WriteBuffer::addBalanceUpdate' => <<<DOC
        add('balances', ['user_id' => \$userId, 'currency' => \$currency] + \$changes).

        @param string \$currency fills the name of the table spot_{currency}_accounts: A-Z, a-z, 0-9 and '_'
        @param array<string, $value> \$changes balance, available_balance and usd_amount are
            added, as int or decimal string; other columns take the value
        $added
        DOC,
    'WriteBuffer::shouldFlush' => <<<'DOC'
        Whether maxBufferSize rows, after merging, wait for the writer to take them, or some do
        and flushIntervalMs has passed since the last flush. The background writer needs nobody
        to ask; this is for loops written for the PHP buffer.
        DOC,
    'WriteBuffer::getStats' => <<<DOC
        Counts rows unless a key says otherwise; retries are by the server's error number.

        `tables`, by declared name: `accepted`, `committed`, `quarantined`, `discarded` and
        `pending` count rows as added, `pending_merged` and `written` after merging. `sums` has
        the exact sums of those rows' amounts for each delta column, as decimal strings without
        zeros at the end. accepted = committed + quarantined + discarded + pending, in rows and
        in each sum, at every moment; `conserved` tells whether it always was so. Where it is
        not, which only a bug in write_buffer can bring about, the buffer halts, and `halted`
        names table, column and figures. `tables` has the rows of this buffer alone;
        `quarantined` also those that it took over from dead writers. `merge_ratio` is rows added for each row
        written. `latency_ms` is the time from add() to the commit, of a sample.

        @return $stats
        DOC,
    'WriteBuffer::clear' => <<<'DOC'
        Discards every row that no writer has taken, and the rows of an open transaction. What is
        being written at the moment is written. getStats()['discarded'] counts them.
        DOC,
    'WriteBuffer\WriteBufferInterface' => <<<'DOC'
        What a buffer of the spot backend's orders, trades and balances can do: the native
        WriteBuffer, and SyncWriteBuffer of the Laravel library, which writes at once.
        DOC,
    'WriteBuffer\WriteBufferInterface::addOrder' => <<<DOC
        Inserts or updates an order.

        @param array<string, $value> \$data columns to set; others keep their values
        @throws \\WriteBuffer\\Exception\\WriteBufferException
        DOC,
    'WriteBuffer\WriteBufferInterface::addTrade' => <<<DOC
        Appends a trade.

        @param array<string, $value> \$data
        @throws \\WriteBuffer\\Exception\\WriteBufferException
        DOC,
    'WriteBuffer\WriteBufferInterface::addBalanceUpdate' => <<<DOC
        Adds to a user's balances in a currency.

        @param array<string, $value> \$changes balance, available_balance and usd_amount are
            added, as int or decimal string; other columns take the value
        @throws \\WriteBuffer\\Exception\\WriteBufferException
        DOC,
    'WriteBuffer\WriteBufferInterface::flush' => <<<'DOC'
        Has everything written that was added so far.
        DOC,
    'WriteBuffer\WriteBufferInterface::shouldFlush' => <<<'DOC'
        Whether enough rows, or old enough ones, wait to be written.
        DOC,
    'WriteBuffer\WriteBufferInterface::getStats' => <<<'DOC'
        @return array{
            buffer: array{orders: int, trades: int, balances: int, total: int},
            config: array{max_buffer_size: int, flush_interval_ms: int, max_retries: int},
            totals: array{orders_written: int, trades_written: int, balances_written: int, flushes: int,
                avg_flush_duration_ms: float}
        } at least
        DOC,
    'WriteBuffer\WriteBufferInterface::clear' => <<<'DOC'
        Discards what is pending.
        DOC,
    'WriteBuffer\FlushResult' => <<<'DOC'
        What a flush did. Rows written are counted after merging, and since the previous flush
        of the buffer returned.
        DOC,
    'WriteBuffer\FlushResult::__construct' => <<<'DOC'
        @param float $durationMs in ms
        @param list<string> $errors
        DOC,
    'WriteBuffer\FlushResult::empty' => <<<'DOC'
        The successful flush of nothing.
        DOC,
    'WriteBuffer\FlushResult::failed' => <<<'DOC'
        A flush that wrote nothing, and why.
        DOC,
    'WriteBuffer\FlushResult::getOrdersWritten' => <<<'DOC'
        Rows of the table declared as `orders`.
        DOC,
    'WriteBuffer\FlushResult::getTradesWritten' => <<<'DOC'
        Rows of the table declared as `trades`.
        DOC,
    'WriteBuffer\FlushResult::getBalancesWritten' => <<<'DOC'
        Rows of the tables declared as `balances`.
        DOC,
    'WriteBuffer\FlushResult::getTotalWritten' => <<<'DOC'
        Rows of all tables, those of other declarations included.
        DOC,
    'WriteBuffer\FlushResult::getDurationMs' => <<<'DOC'
        How long the flush took, in ms.
        DOC,
    'WriteBuffer\FlushResult::getErrors' => <<<'DOC'
        Why rows are still pending, and why rows are in quarantine; of many groups the first ones.

        @return list<string>
        DOC,
    'WriteBuffer\FlushResult::isSuccess' => <<<'DOC'
        Whether there are no errors.
        DOC,
    'WriteBuffer\FlushResult::toArray' => <<<'DOC'
        @return array{orders_written: int, trades_written: int, balances_written: int, total_written: int,
            duration_ms: float, errors: list<string>, success: bool, quarantined: int, pending: int, sequence: int}
        DOC,
    'WriteBuffer\FlushResult::getQuarantined' => <<<'DOC'
        Rows, as added, that went to quarantine since the previous flush returned.
        DOC,
    'WriteBuffer\FlushResult::getPending' => <<<'DOC'
        Rows, as added, that were still pending when the flush returned.
        DOC,
    'WriteBuffer\FlushResult::getSequence' => <<<'DOC'
        The last settled row when the flush returned; see \WriteBuffer::committedSequence().
        DOC,
    'WriteBuffer\Exception\WriteBufferException' => <<<'DOC'
        What every exception of WriteBuffer implements.
        DOC,
    'WriteBuffer\Exception\ConfigurationException' => <<<'DOC'
        An option that is unknown, of a wrong type or out of bounds; a declared table that does
        not fit the database.
        DOC,
    'WriteBuffer\Exception\InvalidRowException' => <<<'DOC'
        A row or key that can never be written. The message names table, column and what was given.
        DOC,
    'WriteBuffer\Exception\BufferFullException' => <<<'DOC'
        A bound is reached and no room came in time. The row was not accepted.
        DOC,
    'WriteBuffer\Exception\ConnectionException' => <<<'DOC'
        The database could not be reached even once, or refuses the credentials. The message
        names host and port, never the password.
        DOC,
    'WriteBuffer\Exception\JournalException' => <<<'DOC'
        The journal cannot be written or recovered.
        DOC,
    'WriteBuffer\Exception\ClosedException' => <<<'DOC'
        The buffer is closed, or halted on an error that the message repeats.
        DOC,
    'WriteBuffer\Exception\TransactionException' => <<<'DOC'
        beginTransaction() with a group open, or commit() or rollBack() without one.
        DOC,
];
