<?php

declare(strict_types=1);

return [
    // The one market of this example.
    'currency' => 'usd',
    'coin' => 'btc',

    // Accounts 1..users exist in both account tables.
    'users' => 5_000,

    // What every account starts with. The audit adds these up again, so a database must be
    // seeded with the same numbers that it is audited with. In units of 1e-10 an account has
    // to stay below 2^63, which is 922 million of either currency.
    'deposit' => [
        'usd' => (string) env('SPOT_DEPOSIT_USD', '200000000'),
        'btc' => (string) env('SPOT_DEPOSIT_BTC', '200000'),
    ],

    // `created_at` and `updated_at` of a freshly seeded account, ms: midnight UTC before the sample.
    'opened_at_ms' => 1_777_680_000_000,
];
