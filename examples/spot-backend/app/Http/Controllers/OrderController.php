<?php

declare(strict_types=1);

namespace App\Http\Controllers;

use App\Spot\Exchange;
use App\Spot\Gateway\OrderGateway;
use App\Spot\LeaseHeld;
use App\Spot\LiveState;
use App\Spot\Market;
use App\Spot\OrderIds;
use Illuminate\Http\JsonResponse;
use Illuminate\Http\Request;

/** Orders of one market. There is no authentication: `user_id` is believed. */
final class OrderController
{
    private const FIELDS = ['user_id', 'side', 'type', 'quantity', 'price', 'ioc'];

    public function __construct(
        private readonly Exchange $exchange,
        private readonly OrderGateway $gateway,
        private readonly LiveState $state,
    ) {
    }

    public function place(Request $request, OrderIds $ids, string $market): JsonResponse
    {
        $found = $this->exchange->find($market);

        if ($found === null) {
            return self::unknownMarket($market);
        }

        $id = $ids->next($found);
        $fields = ['action' => 'place', 'market' => $market, 'order_id' => $id] + $request->only(self::FIELDS);
        $fields['ioc'] = in_array($fields['ioc'] ?? false, [true, 1, '1'], true) ? '1' : '0';

        return $this->submit($found, $id, $fields, JsonResponse::HTTP_CREATED);
    }

    public function cancel(Request $request, string $market, string $id): JsonResponse
    {
        $found = $this->exchange->find($market);

        if ($found === null) {
            return self::unknownMarket($market);
        }

        $fields = ['action' => 'cancel', 'market' => $market, 'order_id' => $id] + $request->only('user_id');

        return $this->submit($found, (int) $id, $fields, JsonResponse::HTTP_OK);
    }

    public function show(string $market, string $id): JsonResponse
    {
        $found = $this->exchange->find($market);
        $order = $found === null ? null : $this->state->order($found, (int) $id);

        return $order === null
            ? new JsonResponse(['message' => "There is no order {$id} in {$market}."], JsonResponse::HTTP_NOT_FOUND)
            : new JsonResponse(['order' => $order, 'refusal' => $this->state->refusalOf((int) $id)]);
    }

    /** @param array<string, mixed> $fields */
    private function submit(Market $market, int $id, array $fields, int $status): JsonResponse
    {
        try {
            $receipt = $this->gateway->submit($market, $fields);
        } catch (LeaseHeld $held) {
            return new JsonResponse(['message' => $held->getMessage()], JsonResponse::HTTP_SERVICE_UNAVAILABLE);
        }

        if ($receipt->refusal !== null) {
            return new JsonResponse(['message' => $receipt->refusal, 'order_id' => $id], JsonResponse::HTTP_UNPROCESSABLE_ENTITY);
        }

        return $receipt->isApplied
            ? new JsonResponse(['order' => $this->state->order($market, $id)], $status)
            : new JsonResponse(['order_id' => $id, 'entry' => $receipt->entry], JsonResponse::HTTP_ACCEPTED);
    }

    private static function unknownMarket(string $market): JsonResponse
    {
        return new JsonResponse(['message' => "There is no market '{$market}'."], JsonResponse::HTTP_NOT_FOUND);
    }
}
