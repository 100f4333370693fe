<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Lifecycle;

use PHPUnit\Framework\Attributes\DataProvider;
use WriteBuffer\Tests\Support\Apache;
use WriteBuffer\Tests\Support\CrashScenario;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * As Apache's module: a named buffer outlives the request and drains with the child, and a reload,
 * which starts PHP and the extension a second time in one process, leaves both as they were.
 */
final class ApacheTest extends DatabaseTestCase
{
    private CrashScenario $scenario;

    protected function setUp(): void
    {
        parent::setUp();
        if (Apache::missing() !== null) {
            self::markTestSkipped((string) Apache::missing());
        }
        $this->scenario = new CrashScenario(sys_get_temp_dir() . '/write-buffer-web-' . bin2hex(random_bytes(6)));
        file_put_contents("{$this->scenario->directory}/index.php", Subprocess::PREAMBLE . CrashScenario::script(<<<'PHP'
            $buffer = WriteBuffer::open('crash', journal(['flush_interval_ms' => 86_400_000]));
            if (isset($_GET['id'])) group($buffer, (int) $_GET['id']);
            try {
                $buffer->addOrder(1, ['no such' => 1]);
            } catch (WriteBuffer\Exception\InvalidRowException) {
                echo 'refused, ', ini_get('write_buffer.max_retries');
            }
            PHP));
    }

    protected function tearDown(): void
    {
        parent::tearDown();
        isset($this->scenario) && $this->scenario->remove();
    }

    /** @return iterable<string, array{int, bool}> signal, whether it goes on */
    public static function ends(): iterable
    {
        yield 'a graceful restart' => [SIGUSR1, true];
        yield 'a restart' => [SIGHUP, true];
        yield 'a graceful stop' => [SIGWINCH, false];
        yield 'a stop' => [SIGTERM, false];
    }

    /** @dataProvider ends */
    #[DataProvider('ends')]
    public function testEachGroupIsWrittenOnceAt(int $signal, bool $goesOn): void
    {
        $apache = $this->apache();
        $this->add($apache, 1, 12);
        self::assertSame([], CrashScenario::written());
        $goesOn ? $apache->restart($signal) : $apache->stop($signal);
        $drained = static fn (): bool => CrashScenario::written() === range(1, 12);
        $this->eventually($drained, 'the children drain');
        if ($goesOn) {
            $this->add($apache, 13, 24);
            $apache->stop(SIGTERM);
            self::assertSame(range(1, 24), CrashScenario::written(), $apache->output());
        }
        self::assertSame([], $this->scenario->journals(), $apache->output());
        self::assertStringNotContainsString('exit signal', $apache->output());
    }

    public function testReloadsAndChildrenThatEndTakeNothingAlong(): void
    {
        $apache = $this->apache(['MaxConnectionsPerChild' => 3]);
        for ($round = 0; $round < 6; $round++) {
            $this->add($apache, 10 * $round + 1, 10 * $round + 10);
            $apache->restart($round % 2 === 0 ? SIGUSR1 : SIGHUP);
        }
        $apache->stop(SIGTERM);
        $this->scenario->recover();
        self::assertSame(range(1, 60), CrashScenario::written(), $apache->output());
        self::assertSame([], $this->scenario->journals(), $apache->output());
        self::assertStringNotContainsString('exit signal', $apache->output());
    }

    /** @param array<string, string|int> $settings */
    private function apache(array $settings = []): Apache
    {
        return new Apache($this->scenario->directory, $settings, $this->scenario->environment());
    }

    private function add(Apache $apache, int $first, int $last): void
    {
        for ($id = $first; $id <= $last; $id++) {
            self::assertSame('refused, 3', $apache->get("index.php?id=$id"), $apache->output());
        }
    }
}
