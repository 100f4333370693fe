<?php

declare(strict_types=1);

use App\Http\Controllers\BalanceController;
use App\Http\Controllers\OrderController;
use Illuminate\Support\Facades\Route;

Route::post('markets/{market}/orders', [OrderController::class, 'place']);
Route::get('markets/{market}/orders/{id}', [OrderController::class, 'show'])->where('id', '[0-9]{1,18}');
Route::delete('markets/{market}/orders/{id}', [OrderController::class, 'cancel'])->where('id', '[0-9]{1,18}');
Route::get('users/{user}/balances', [BalanceController::class, 'show'])->where('user', '[0-9]{1,9}');
