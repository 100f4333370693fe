<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel;

use Illuminate\Contracts\Http\Kernel;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Artisan;
use Symfony\Component\Process\Process;
use WriteBuffer\Laravel\Drains;
use WriteBuffer\Laravel\Facades\WriteBuffer;
use WriteBuffer\Laravel\Metrics\PrometheusText;
use WriteBuffer\Laravel\Status\Board;
use WriteBuffer\Laravel\Status\ProcessStatus;
use WriteBuffer\Tests\Laravel\Support\LaravelTestCase;

/**
 * What processes say of themselves: write-buffer:status and the text for Prometheus.
 */
final class StatusTest extends LaravelTestCase
{
    private const SYNC = ['write-buffer.sync' => true, 'write-buffer.status.every_ms' => 0];

    public function testAllProcessesOfThisHostAreShownAsLongAsTheyLive(): void
    {
        $this->boot(self::SYNC);
        $workers = [$this->process('one'), $this->process('two')];
        $this->eventually(fn (): bool => count($this->files()) === 2, 'both have published');
        $status = $this->shown();
        self::assertEqualsCanonicalizing(array_map(static fn (Process $w): ?int => $w->getPid(), $workers), array_column($status['processes'], 'pid'));
        self::assertSame(1, $status['processes'][0]['buffers']['default']['tables']['trades']['committed']);
        foreach ($this->files() as $file) {
            self::assertSame(0600, fileperms($file) & 0777);
        }
        self::assertSame(0700, fileperms(dirname($file)) & 0777);
        Artisan::call('write-buffer:status');
        self::assertStringContainsString('work.php one', Artisan::output());

        // One ends orderly and takes its file along; one is killed, and whoever looks next clears up.
        touch("{$this->application->directory}/end-one");
        $workers[0]->wait();
        self::assertCount(1, $this->files());
        $workers[1]->signal(SIGKILL);
        $this->eventually(static fn (): bool => !$workers[1]->isRunning(), 'the end of the other');
        self::assertCount(1, $this->files());
        self::assertSame([], $this->shown()['processes']);
        self::assertSame([], $this->files());
        Artisan::call('write-buffer:status');
        self::assertStringContainsString('No process of this host has a buffer open', Artisan::output());
    }

    public function testTheTableIsLive(): void
    {
        $watch = $this->application->start(['write-buffer:status', '--watch=0.01'], self::SYNC);
        $nothing = static fn (): bool => substr_count($watch->getOutput(), 'No process of this host') >= 2;
        $this->eventually($nothing, 'the first look');
        $this->process('one');
        $this->eventually(static fn (): bool => str_contains($watch->getOutput(), 'work.php one'), 'a later look');
        self::assertTrue($watch->isRunning());
    }

    public function testAPidAloneIsNoProcess(): void
    {
        $this->boot(self::SYNC);
        $own = ProcessStatus::own([]);
        self::assertTrue($own->isAlive());
        $earlier = new ProcessStatus($own->host, $own->pid, (string) ((int) $own->started - 1), 'another', 0.0, []);
        self::assertFalse($earlier->isAlive());
        mkdir(dirname($this->pattern()), 0700, true);
        file_put_contents(str_replace('*', '1-1', $this->pattern()), '{"pid"');
        file_put_contents(str_replace('*', '2-2', $this->pattern()), json_encode(['host' => 'elsewhere', 'pid' => 2, 'started' => '2', 'buffers' => []]));
        self::assertSame([], $this->shown()['processes']);
        // What cannot be read goes; another host's is its own business.
        self::assertCount(1, $this->files());
    }

    public function testPublishingIsRareAndNeverDisturbs(): void
    {
        $this->boot(['write-buffer.status.path' => '/proc/nowhere'] + self::SYNC);
        WriteBuffer::add('trades', self::trade(1));
        Drains::at('job_processed');
        self::assertSame([], app(Board::class)->read()->processes);

        $board = new Board(dirname($this->pattern()), 60_000);
        $board->publish(WriteBuffer::opened());
        $file = $this->files()[0];
        file_put_contents($file, 'as it was');
        $board->publish(WriteBuffer::opened());
        self::assertSame('as it was', file_get_contents($file));
        $board->publish(WriteBuffer::opened(), now: true);
        self::assertStringContainsString('"trades"', (string) file_get_contents($file));
        $board->withdraw();
        self::assertSame([], $this->files());
    }

    public function testTheTextForPrometheus(): void
    {
        $this->boot(self::SYNC);
        WriteBuffer::add('trades', self::trade(1));
        $text = WriteBuffer::metrics();
        $pid = getmypid();
        self::assertStringContainsString("# HELP write_buffer_rows_committed_total Rows added that are committed, by declared table.\n# TYPE write_buffer_rows_committed_total counter\n", $text);
        self::assertStringContainsString("write_buffer_rows_committed_total{buffer=\"default\",pid=\"$pid\",table=\"trades\"} 1\n", $text);
        foreach (array_filter(explode("\n", $text)) as $line) {
            self::assertMatchesRegularExpression('/^(# (HELP|TYPE) write_buffer_\w+ .+|write_buffer_\w+\{\w+="[^"]*"(,\w+="[^"]*")*\} -?[0-9.e+-]+)$/', $line);
        }
        preg_match_all('/^# TYPE (\S+)/m', $text, $types);
        self::assertSame(array_unique($types[1]), $types[1]);
        self::assertStringContainsString("write_buffer_published_timestamp_seconds{buffer=\"default\",pid=\"$pid\",sapi=\"cli\"} ", $text);
    }

    public function testOctaneIsToldFromAWorker(): void
    {
        $_SERVER['LARAVEL_OCTANE'] = '1';
        try {
            $status = ProcessStatus::own([]);
        } finally {
            unset($_SERVER['LARAVEL_OCTANE']);
        }
        self::assertSame(['octane', 'cli'], [$status->sapi, ProcessStatus::own([])->sapi]);
        self::assertSame('octane', ProcessStatus::parse((string) json_encode($status->toArray()))?->sapi);
    }

    public function testLabelsAreEscaped(): void
    {
        $process = new ProcessStatus('h', 7, '1', 'c', 0.0, ["a\"b\\c\nd" => ['failures' => 3, 'retries' => [1213 => 2]]]);
        $text = PrometheusText::of([$process]);
        self::assertStringContainsString('write_buffer_failures_total{buffer="a\"b\\\\c\nd",pid="7"} 3', $text);
        self::assertStringContainsString('pid="7",code="1213"} 2', $text);
        self::assertSame('', PrometheusText::of([]));
    }

    public function testTheRouteIsThereOnlyWhenItIsConfigured(): void
    {
        $app = $this->boot(['write-buffer.metrics.route' => 'metrics/write-buffer'] + self::SYNC);
        WriteBuffer::add('trades', self::trade(1));
        $response = $app->make(Kernel::class)->handle(Request::create('/metrics/write-buffer'));
        self::assertSame(200, $response->getStatusCode(), (string) $response->getContent());
        self::assertSame(PrometheusText::CONTENT_TYPE, $response->headers->get('Content-Type'));
        self::assertStringContainsString('write_buffer_rows_committed_total', (string) $response->getContent());
        self::assertFalse($this->boot()->make('router')->has('write-buffer.metrics'));
    }

    /** A process that adds a row, comes to a drain, and lives until it is told to end. */
    private function process(string $name): Process
    {
        $script = "{$this->application->directory}/work.php";
        file_put_contents($script, '<?php $app = require "bootstrap/app.php"; $app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap();'
            . ' WriteBuffer\Laravel\Facades\WriteBuffer::addTrade(["price" => 1, "quantity" => 1]);'
            . ' WriteBuffer\Laravel\Drains::at("job_processed"); while (!file_exists("end-$argv[1]")) { clearstatcache(); usleep(5000); }');
        return $this->application->php(['work.php', $name], ['TEST_CONFIG' => (string) json_encode(self::SYNC)]);
    }

    /** @return array<string, mixed> */
    private function shown(): array
    {
        Artisan::call('write-buffer:status', ['--json' => true]);
        return json_decode(Artisan::output(), true);
    }

    private function pattern(): string
    {
        return "{$this->application->directory}/storage/framework/write-buffer/*.json";
    }

    /** @return list<string> */
    private function files(): array
    {
        return glob($this->pattern()) ?: [];
    }
}
