<?php

declare(strict_types=1);

namespace App\Http\Controllers;

use App\Spot\Exchange;
use App\Spot\Gateway\OrderGateway;
use App\Spot\Gateway\StreamAway;
use App\Spot\LiveState;
use App\Spot\Market;
use App\Spot\Orders\OrderIds;
use App\Spot\Worker\LeaseHeld;
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
        $given = array_filter($request->only(self::FIELDS), static fn (mixed $value): bool => $value !== null);
        $fields = ['action' => 'place', 'market' => $market, 'order_id' => $id] + $given;

        if (is_bool($fields['ioc'] ?? null)) {
            $fields['ioc'] = (int) $fields['ioc'];
        }

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
            ? new JsonResponse(['message' => "There is no order {$id} in " . mb_scrub($market, 'UTF-8') . '.'], JsonResponse::HTTP_NOT_FOUND)
            : new JsonResponse(['order' => self::shown($order), 'refusal' => $this->state->refusalOf((int) $id)]);
    }

    /** @param array<string, mixed> $fields */
    private function submit(Market $market, int $id, array $fields, int $status): JsonResponse
    {
        try {
            $receipt = $this->gateway->submit($market, $fields);
        } catch (LeaseHeld | StreamAway $error) {
            return new JsonResponse(['message' => $error->getMessage(), 'order_id' => (string) $id], JsonResponse::HTTP_SERVICE_UNAVAILABLE);
        }

        if ($receipt->refusal !== null) {
            return new JsonResponse(['message' => $receipt->refusal, 'order_id' => (string) $id], JsonResponse::HTTP_UNPROCESSABLE_ENTITY);
        }

        return $receipt->isApplied
            ? new JsonResponse(['order' => self::shown((array) $this->state->order($market, $id))], $status)
            : new JsonResponse(['order_id' => (string) $id, 'entry' => $receipt->entry], JsonResponse::HTTP_ACCEPTED);
    }

    /**
     * Ids are beyond 2^53: a client that reads numbers as floats would ask for another order.
     *
     * @param array<string, mixed> $order
     * @return array<string, mixed>
     */
    private static function shown(array $order): array
    {
        return ['id' => (string) $order['id']] + $order;
    }

    private static function unknownMarket(string $market): JsonResponse
    {
        return new JsonResponse(['message' => "There is no market '" . mb_scrub($market, 'UTF-8') . "'."], JsonResponse::HTTP_NOT_FOUND);
    }
}
