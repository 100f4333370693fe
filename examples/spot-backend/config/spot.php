<?php

declare(strict_types=1);

return [
    // Currency and coin of each market, comma-separated. The number of a market is its place in
    // the list, and its orders' ids end in it: append, do not reorder.
    'markets' => (string) env('SPOT_MARKETS', 'usd_btc'),

    // Accounts 1..users exist in every account table.
    'users' => (int) env('SPOT_USERS', '5000'),

    // What every account starts with. The audit adds these up again, so a database must be
    // seeded with the same numbers that it is audited with. In units of 1e-10 an account has
    // to stay below 2^63, which is 922 million of either currency.
    'deposit' => [
        'usd' => (string) env('SPOT_DEPOSIT_USD', '200000000'),
        'btc' => (string) env('SPOT_DEPOSIT_BTC', '200000'),
        'eth' => (string) env('SPOT_DEPOSIT_ETH', '200000'),
    ],

    // `created_at` and `updated_at` of a freshly seeded account, ms: midnight UTC before the sample.
    'opened_at_ms' => 1_777_680_000_000,

    // How long a worker that is not heard of keeps its market, ms. One that is late is fenced:
    // whatever it still writes is refused by the database.
    'lease_ms' => (int) env('SPOT_LEASE_MS', '10000'),

    // For ProcessOrder on a queue, and for SPOT_GATEWAY=direct; the artisan command has options.
    'journal' => (string) env('SPOT_JOURNAL', 'process'),
    'flush_interval_ms' => (int) env('SPOT_FLUSH_INTERVAL_MS', '500'),

    // Where HTTP takes orders to: `stream`, the Redis stream of the market, which a worker
    // reads; or `direct`, this process, which then has to be the market's only worker.
    'gateway' => (string) env('SPOT_GATEWAY', 'stream'),
];
