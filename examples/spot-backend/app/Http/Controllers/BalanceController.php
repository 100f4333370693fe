<?php

declare(strict_types=1);

namespace App\Http\Controllers;

use App\Spot\LiveState;
use Illuminate\Http\JsonResponse;

final class BalanceController
{
    public function show(LiveState $state, string $user): JsonResponse
    {
        $balances = $state->balances((int) $user);

        return $balances === null
            ? new JsonResponse(['message' => "User {$user} has no accounts."], JsonResponse::HTTP_NOT_FOUND)
            : new JsonResponse(['balances' => $balances]);
    }
}
