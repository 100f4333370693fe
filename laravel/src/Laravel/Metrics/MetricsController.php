<?php

declare(strict_types=1);

namespace WriteBuffer\Laravel\Metrics;

use Illuminate\Http\Response;
use WriteBuffer\Laravel\Contracts\Buffers;

/**
 * The route for Prometheus; a class, so that routes can be cached.
 */
final class MetricsController
{
    public function __invoke(Buffers $buffers): Response
    {
        return new Response($buffers->metrics(), 200, ['Content-Type' => PrometheusText::CONTENT_TYPE]);
    }
}
