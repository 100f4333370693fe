<?php

declare(strict_types=1);

use Illuminate\Contracts\Http\Kernel;
use Illuminate\Http\Request;
use WriteBuffer\Laravel\Facades\WriteBuffer;

$app = require __DIR__ . '/../bootstrap/app.php';
$kernel = $app->make(Kernel::class);
$app->booted(static function () use ($app): void {
    $app->make('router')->get('/trade', static function (): string {
        WriteBuffer::addTrade(['match_id' => 1, 'price' => '5', 'quantity' => '1']);
        return 'added ' . WriteBuffer::buffer()->count();
    });
});
$response = $kernel->handle($request = Request::capture());
$response->send();
$kernel->terminate($request, $response);
