<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel\Support;

use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Foundation\Application;
use Throwable;

/**
 * An exception handler that keeps what is reported to it.
 */
final class Reports implements ExceptionHandler
{
    /** @var list<Throwable> */
    public array $reported = [];

    public static function of(Application $app): self
    {
        $reports = new self();
        $app->instance(ExceptionHandler::class, $reports);
        return $reports;
    }

    public function report(Throwable $e)
    {
        $this->reported[] = $e;
    }

    public function shouldReport(Throwable $e)
    {
        return true;
    }

    public function render($request, Throwable $e)
    {
        throw $e;
    }

    public function renderForConsole($output, Throwable $e)
    {
        throw $e;
    }
}
