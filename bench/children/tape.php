<?php

declare(strict_types=1);

/*
 * Has the example exchange match the Bitstamp sample, in its crossing variant, and writes `groups` of
 * the atomic groups that it would store to `tape`, one a line as JSON, and before them the orders
 * that are open when they begin: the first half of the sample mostly fills the book.
 *
 * Given as JSON: sample, tape, skip, groups.
 */

use App\Spot\Funds\MarketFunds;
use App\Spot\Funds\OwnFunds;
use App\Spot\Funds\RecordedFunds;
use App\Spot\Input\BitstampFile;
use App\Spot\Input\Pricing;
use App\Spot\Input\UserHash;
use App\Spot\Market;
use App\Spot\Matching\OrderBook;
use App\Spot\Orders\OrderService;
use App\Spot\Orders\OrderStatus;
use App\Spot\Worker\CommandProcessor;
use App\Spot\Worker\Progress;
use WriteBuffer\Bench\Flow\Bitstamp;
use WriteBuffer\Bench\Flow\RecordingStore;

require __DIR__ . '/../autoload.php';
require __DIR__ . '/../../examples/spot-backend/bootstrap/autoload.php';

$spec = json_decode($argv[1], true, 512, JSON_THROW_ON_ERROR);
$market = new Market(0, 'usd', 'btc');
$store = new RecordingStore();
$funds = new OwnFunds($market);
foreach ($market->currencies() as $currency) {
    // What Database::prepare() puts there, in 1e-10, as far as it fits 64 bits.
    $funds->load($currency, array_fill(1, Bitstamp::USERS, 900_000_000 * 10_000_000_000));
}
$input = new BitstampFile($spec['sample'], new UserHash(Bitstamp::USERS), new Pricing(true));
$progress = new Progress($market->key(), $input->name(), 1);
$processor = new CommandProcessor(new OrderService($market, $store, new OrderBook(), new MarketFunds($market, $funds, new RecordedFunds(Bitstamp::USERS, []), []), $progress), $progress);
$input->open($progress);

/** @var array<string, array<string, int|string|null>> $open */
$open = [];
$skipped = 0;
$written = 0;
// Whole or not at all.
$tape = fopen("{$spec['tape']}.part", 'wb');
while ($written < $spec['groups'] && ($entries = $input->read(1_000)) !== null) {
    array_map($processor->apply(...), $entries);
    foreach ($store->take() as $group) {
        if ($skipped < $spec['skip']) {
            $skipped++;
            foreach ($group as $row) {
                if ($row[0] === 'order') {
                    $key = "#$row[1]";
                    $open[$key] = array_merge($open[$key] ?? ['id' => $row[1]], $row[2]);
                    if (OrderStatus::from($open[$key]['status'])->isFinal()) {
                        unset($open[$key]);
                    }
                }
            }
        } elseif ($written < $spec['groups']) {
            $written++ === 0 && fwrite($tape, json_encode(array_values($open), JSON_THROW_ON_ERROR) . "\n");
            fwrite($tape, json_encode($group, JSON_THROW_ON_ERROR) . "\n");
        }
    }
}
fclose($tape);
rename("{$spec['tape']}.part", $spec['tape']);
echo json_encode(['open' => count($open), 'groups' => $written, 'events' => $processor->counts->events], JSON_THROW_ON_ERROR), "\n";
