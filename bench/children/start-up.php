<?php

declare(strict_types=1);

/* Median milliseconds of `php -n -r ''`, by turns without and with the extension. */

$spec = json_decode($argv[1], true, 512, JSON_THROW_ON_ERROR);
// The first is the one that is measured: scripts/bench.sh.
[$extension] = explode(PATH_SEPARATOR, (string) getenv('BENCH_EXTENSIONS'));
$took = static function (array $flags): float {
    $begun = hrtime(true);
    proc_close(proc_open([PHP_BINARY, '-n', ...$flags, '-r', ''], [], $pipes));

    return (hrtime(true) - $begun) / 1e6;
};
$median = static function (array $samples): float {
    sort($samples);

    return $samples[intdiv(count($samples), 2)];
};
[$without, $with] = [[], []];
for ($round = 0; $round < $spec['rounds']; $round++) {
    $without[] = $took([]);
    $with[] = $took(['-d', "extension=$extension"]);
}
echo json_encode(['without' => $median($without), 'with' => $median($with)], JSON_THROW_ON_ERROR), "\n";
