<?php

declare(strict_types=1);

namespace WriteBuffer\Tests;

use PDO;
use PHPUnit\Framework\Attributes\DataProvider;
use Symfony\Component\Yaml\Yaml;
use WriteBuffer;
use WriteBuffer\Laravel\Metrics\PrometheusText;
use WriteBuffer\Laravel\Status\ProcessStatus;
use WriteBuffer\Tests\Support\Database;
use WriteBuffer\Tests\Support\DatabaseTestCase;
use WriteBuffer\Tests\Support\Subprocess;

/**
 * The files of docs/operations do what the page says: supervisors give time, and alerts and panels ask for
 * figures that are there.
 */
final class OperationsTest extends DatabaseTestCase
{
    private const DIRECTORY = __DIR__ . '/../docs/operations';
    /** What a scrape adds. */
    private const OF_THE_SCRAPE = ['instance', 'job'];

    /** @var list<string> */
    private array $workers = [];

    protected function tearDown(): void
    {
        foreach ($this->workers as $directory) {
            exec('rm -rf ' . escapeshellarg($directory));
        }
        parent::tearDown();
    }

    public function testSupervisorEndsTheWorkersWithEveryRowWritten(): void
    {
        self::needsProgram('supervisord', 'supervisor');
        Database::create('positions', 'id BIGINT PRIMARY KEY, size VARCHAR(20) NOT NULL');
        $directory = $this->newWorkerDirectory();
        $command = implode(' ', [PHP_BINARY, ...Subprocess::arguments(), '-d log_errors=1', '-d error_log=', "$directory/worker.php"]);
        $program = strtr((string) file_get_contents(self::DIRECTORY . '/supervisor.conf'), [
            '/usr/bin/php worker.php' => $command,
            '/srv/spot' => $directory,
            '/var/lib/spot/journal' => "$directory/journal",
            '/var/log/spot' => $directory,
            '/run/write-buffer' => $directory,
            'user=www-data' => '',
        ]);
        file_put_contents("$directory/conf", <<<CONF
            [unix_http_server]
            file=$directory/socket
            [supervisord]
            logfile=$directory/supervisord.log
            pidfile=$directory/pid
            [rpcinterface:supervisor]
            supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
            [supervisorctl]
            serverurl=unix://$directory/socket

            CONF . $program);
        $files = [['file', '/dev/null', 'r'], ['file', "$directory/out", 'w'], ['file', "$directory/out", 'a']];
        $supervisor = proc_open(['supervisord', '-n', '-c', "$directory/conf"], $files, $pipes, null, ['WRITE_BUFFER_DSN' => Database::dsn()] + getenv());
        self::assertIsResource($supervisor);
        try {
            $rows = static fn (): int => Database::count('positions');
            $this->eventually(static fn (): bool => $rows() > 50, 'the workers write', 30);
            $this->eventually(static fn (): bool => count(glob("$directory/spot-?.prom") ?: []) === 2, 'and say so to Prometheus', 30);
            exec('supervisorctl -c ' . escapeshellarg("$directory/conf") . ' stop all', $said);
            self::assertCount(2, preg_grep('/: stopped$/', $said) ?: [], implode("\n", $said));
            $logs = implode('', array_map(static fn (string $log): string => (string) file_get_contents($log), glob("$directory/spot-worker-?.log") ?: []));
            self::assertSame(2, preg_match_all('/Ended: (\d+) rows accepted, 0 not in the database yet/', $logs, $accepted), $logs);
            // Both write the same ids.
            self::assertSame(max(array_map('intval', $accepted[1])), $rows(), $logs);
            $log = (string) file_get_contents("$directory/supervisord.log");
            self::assertSame(2, substr_count($log, '(exit status 0)'), $log);
            self::assertSame([], glob("$directory/{journal/spot/*,*.prom}", GLOB_BRACE));
        } finally {
            proc_terminate($supervisor);
            for ($i = 0; $i < 1_000 && proc_get_status($supervisor)['running']; $i++) {
                usleep(10_000);
            }
            proc_terminate($supervisor, SIGKILL);
            proc_close($supervisor);
            Database::drop('positions');
        }
    }

    /** Its database is a file in a directory that is not there yet, whatever the other tests use: all sinks throw the same. */
    public function testAWorkerSitsOutWhatPasses(): void
    {
        $directory = $this->newWorkerDirectory();
        $worker = self::worker($directory, "sqlite://$directory/database/test.db");
        $said = static fn (): string => $worker->stderr();
        $this->eventually(static fn (): bool => self::figure($directory, 'failures_total') >= 3 || !$worker->isRunning(), 'several failures', 30);
        self::assertTrue($worker->isRunning(), $worker->output());
        self::assertSame(1, substr_count($said(), 'A row waits to be accepted: The directory'), $said());
        mkdir("$directory/database");
        $this->eventually(static fn (): bool => str_contains($said(), 'the database has no table "positions"'), 'a table that is missing', 30);
        $pdo = new PDO("sqlite:$directory/database/test.db", options: [PDO::ATTR_TIMEOUT => 20]);
        $pdo->exec('CREATE TABLE positions (id INTEGER PRIMARY KEY, size TEXT NOT NULL)');
        $rows = static fn (): array => $pdo->query('SELECT COUNT(*), MIN(id), MAX(id) FROM positions')->fetchAll(PDO::FETCH_NUM)[0];
        $this->eventually(static fn (): bool => $rows()[0] > 200 || !$worker->isRunning(), 'rows are written', 30);
        $worker->kill(SIGTERM)->wait();
        self::assertSame(0, $worker->exitCode, $worker->output());
        self::assertSame(1, preg_match('/Ended: (\d+) rows accepted, 0 not in the database yet/', $said(), $accepted), $said());
        // Each of them, the one that was not accepted at first too.
        self::assertEquals([$accepted[1], 1, $accepted[1]], $rows());
        self::assertSame([], glob("$directory/journal/spot/*"));
        self::assertFileDoesNotExist("$directory/figures.prom");
    }

    public function testAWorkerWhoseBufferHaltedKeepsItsJournalUntilItIsStopped(): void
    {
        Database::create('positions', 'id BIGINT PRIMARY KEY, size VARCHAR(20) NOT NULL');
        $directory = $this->newWorkerDirectory();
        $worker = self::worker($directory, Database::dsn());
        $this->eventually(static fn (): bool => Database::count('positions') > 50 || !$worker->isRunning(), 'rows are written', 30);
        $writer = basename(glob("$directory/journal/spot/spot-*")[0] ?? '');
        Database::execute("UPDATE write_buffer_checkpoints SET sequence = 3 WHERE writer = '$writer'");
        $this->eventually(static fn (): bool => self::figure($directory, 'halted') === 1 || !$worker->isRunning(), 'it halts', 30);
        self::assertTrue($worker->isRunning(), $worker->output());
        self::assertSame(1, preg_match_all('/A row waits to be accepted: .*checkpoint/', $worker->stderr()), $worker->stderr());
        // Who opens the buffer now, with that checkpoint, would write rows a second time.
        $other = self::worker($directory, Database::dsn(), 'other.prom');
        $this->eventually(static fn (): bool => self::figure($directory, 'connected', 'other.prom') === 1 || !$other->isRunning(), 'another one works', 30);
        self::assertDirectoryExists("$directory/journal/spot/$writer");
        self::assertStringNotContainsString('Recovered', $other->stderr());
        foreach ([[$other, 0], [$worker, 1]] as [$ended, $status]) {
            $ended->kill(SIGTERM)->wait();
            self::assertSame($status, $ended->exitCode, $ended->output());
        }
        self::assertSame([$writer], array_map(basename(...), glob("$directory/journal/spot/*") ?: []));
        self::assertSame(1, self::figure($directory, 'halted'), 'its last figures stay');
        Database::execute("DELETE FROM write_buffer_checkpoints WHERE writer = '$writer'");
        Database::drop('positions');
    }

    public function testSystemdFindsNothingWrongWithTheUnits(): void
    {
        self::needsProgram('systemd-analyze', 'systemd');
        $directory = $this->newDirectory();
        mkdir($directory, 0700);
        // Whether there is such a program here says nothing of a unit.
        $programs = ['/usr/bin/php' => PHP_BINARY, '/usr/local/bin/write-buffer-status' => (string) realpath(self::DIRECTORY . '/write-buffer-status')];
        // A timer is nothing without its service, and so that comes first.
        foreach (['spot-worker@.service' => 'TimeoutStopSec=', 'write-buffer-status.service' => 'TimeoutStartSec=', 'write-buffer-status.timer' => 'AccuracySec='] as $file => $setting) {
            $unit = str_replace('@', '@1', $file);
            $text = strtr((string) file_get_contents(self::DIRECTORY . "/$file"), $programs);
            file_put_contents("$directory/$file", str_replace($setting, "{$setting}soon ", $text));
            self::assertStringContainsString('Failed to parse', implode(self::said("systemd-analyze verify --man=no $directory/$unit")), 'it would be found');
            file_put_contents("$directory/$file", $text);
            self::assertSame([], self::said("systemd-analyze verify --man=no $directory/$unit"), $file);
        }
    }

    public function testPrometheusIsToldHowStatusEnded(): void
    {
        $tool = (string) getenv('WRITE_BUFFER_TOOL');
        if (!is_executable($tool)) {
            self::markTestSkipped('The tool is not built: make cli, and WRITE_BUFFER_TOOL=/path/to/write-buffer.');
        }
        $directory = $this->newWorkerDirectory();
        mkdir("$directory/bin");
        symlink($tool, "$directory/bin/write-buffer");
        mkdir("$directory/journal", 0700);
        $look = static function (string $path) use ($directory): ?int {
            Subprocess::program([self::DIRECTORY . '/write-buffer-status', "$directory/status.prom"], [
                'PATH' => "$path:" . getenv('PATH'),
                'WRITE_BUFFER_JOURNAL_DIR' => "$directory/journal",
                'WRITE_BUFFER_DSN' => Database::dsn(),
            ])->wait();
            self::assertMatchesRegularExpression('~^write_buffer_status_timestamp_seconds\{journal_dir="' . $directory . '/journal"\} \d{10,}$~m', (string) file_get_contents("$directory/status.prom"));
            return self::figure($directory, 'status_exit_code', 'status.prom');
        };
        self::assertSame(0, $look("$directory/bin"));
        file_put_contents("$directory/journal/spot.quarantine.jsonl", '{"buffer":"spot","reason":"refused","rows":[]}' . "\n");
        self::assertSame(1, $look("$directory/bin"));
        rename("$directory/journal", "$directory/elsewhere");
        self::assertSame(2, $look("$directory/bin"));
        self::assertSame(127, $look("$directory/no-tool"), 'also of a tool that is not there');
    }

    public function testEverySupervisorGivesTheWorkerTheTimeItMayTake(): void
    {
        preg_match("/'drain_timeout_ms' => ([\d_]+)/", (string) file_get_contents(self::DIRECTORY . '/worker.php'), $drain);
        $needed = 2 * (int) str_replace('_', '', $drain[1] ?? '') / 1_000 + 5;
        self::assertGreaterThan(5, $needed);
        $given = [];
        foreach (['spot-worker@.service' => '/^TimeoutStopSec=(\d+)$/m', 'supervisor.conf' => '/^stopwaitsecs=(\d+)$/m', 'kubernetes.yaml' => '/^ *terminationGracePeriodSeconds: (\d+)$/m'] as $file => $pattern) {
            $text = (string) file_get_contents(self::DIRECTORY . "/$file");
            self::assertSame(1, preg_match($pattern, $text, $found), $file);
            self::assertMatchesRegularExpression('/WRITE_BUFFER_STOP_TIMEOUT\W+(value: ")?' . $found[1] . '\b/', $text, "$file tells the doctor");
            $given[$file] = (int) $found[1];
        }
        self::assertGreaterThanOrEqual($needed, min($given), (string) json_encode($given));
    }

    public function testTheManifestFitsTogether(): void
    {
        [$service, $set] = self::documents('kubernetes.yaml');
        self::assertSame(['Service', 'StatefulSet'], [$service['kind'], $set['kind']]);
        $template = $set['spec']['template'];
        $pod = $template['spec'];
        self::assertSame([$set['spec']['serviceName'], 'None'], [$service['metadata']['name'], $service['spec']['clusterIP']]);
        self::assertSame([$template['metadata']['labels'], $template['metadata']['labels']], [$service['spec']['selector'], $set['spec']['selector']['matchLabels']]);
        $volumes = [...array_column($pod['volumes'], 'name'), ...array_column(array_column($set['spec']['volumeClaimTemplates'], 'metadata'), 'name')];
        $mounts = [];
        foreach ($pod['containers'] as $container) {
            foreach ($container['volumeMounts'] as $mount) {
                self::assertContains($mount['name'], $volumes);
                $mounts[$mount['name']] = $mount['mountPath'];
            }
        }
        $environment = array_column($pod['containers'][0]['env'], 'value', 'name');
        self::assertStringStartsWith($mounts['journal'], $environment['WRITE_BUFFER_JOURNAL_DIR']);
        self::assertStringStartsWith($mounts['figures'], $environment['WRITE_BUFFER_METRICS_FILE']);
        self::assertContains("--collector.textfile.directory={$mounts['figures']}", $pod['containers'][1]['args']);
    }

    public function testPrometheusTakesTheRulesAndTheyFireWhenTheyShould(): void
    {
        $groups = self::yaml('prometheus-rules.yml')['groups'];
        foreach (self::alerts($groups) as $rule) {
            self::assertContains($rule['labels']['severity'], ['critical', 'warning']);
            self::assertArrayHasKey('summary', $rule['annotations']);
        }
        $promtool = getenv('PROMTOOL') ?: trim((string) shell_exec('command -v promtool'));
        if ($promtool === '') {
            self::markTestSkipped('promtool (Debian: prometheus) is not here: the rules were read as YAML, not run. PROMTOOL=/path runs them.');
        }
        $tested = self::said(escapeshellarg($promtool) . ' test rules ' . self::DIRECTORY . '/prometheus-rules-test.yml');
        self::assertStringContainsString('SUCCESS', implode("\n", $tested));
        self::assertStringNotContainsString('FAILED', implode("\n", $tested));
    }

    /** @return iterable<string, array{string}> */
    public static function users(): iterable
    {
        foreach (['operations/grafana-dashboard.json', 'operations/prometheus-rules.yml', 'operations/prometheus-rules-test.yml', 'operations.md'] as $file) {
            yield $file => [$file];
        }
    }

    /** @dataProvider users */
    #[DataProvider('users')]
    public function testEveryFigureThatIsAskedForIsThere(string $file): void
    {
        $labels = self::emitted();
        $all = array_unique(array_merge(self::OF_THE_SCRAPE, ...array_values($labels)));
        $text = str_replace('\"', '"', (string) file_get_contents(self::DIRECTORY . "/../$file"));
        $used = 0;
        // The names of tables and of a test's database are no figures.
        preg_match_all('/\bwrite_buffer_(?!checkpoints|test\b)(\w+)(?:\{([^{}]*)\})?/', $text, $found, PREG_SET_ORDER);
        foreach ($found as $use) {
            self::assertArrayHasKey($use[1], $labels, "$file asks for write_buffer_$use[1]");
            preg_match_all('/(\w+)\s*[=!]~?\s*["\']/', $use[2] ?? '', $selected);
            self::assertSame([], array_diff($selected[1], $labels[$use[1]], self::OF_THE_SCRAPE), "$file, $use[0]");
            $used++;
        }
        preg_match_all('/\b(?:by|on) \(([^)]*)\)/', $text, $by);
        foreach ($by[1] as $list) {
            self::assertSame([], array_diff(preg_split('/, */', $list) ?: [], $all, ['alertname']), $file);
        }
        self::assertGreaterThan(0, $used);
    }

    public function testEveryFigureIsOnTheDashboard(): void
    {
        $dashboard = (string) file_get_contents(self::DIRECTORY . '/grafana-dashboard.json');
        $panels = json_decode($dashboard, true, flags: JSON_THROW_ON_ERROR)['panels'];
        $expressions = implode(' ', array_column(array_merge(...array_column($panels, 'targets')), 'expr'));
        foreach (array_keys(self::emitted()) as $metric) {
            self::assertMatchesRegularExpression("/\\bwrite_buffer_$metric\\b/", $expressions);
        }
        self::assertSame(array_unique(array_column($panels, 'id')), array_column($panels, 'id'));
    }

    public function testSizingSaysWhatWasMeasuredAndTheLimitsHaveRoomForIt(): void
    {
        $page = (string) file_get_contents(self::DIRECTORY . '/../operations.md');
        $measured = '/A pending row of nine columns takes (\d+) bytes, its values alone (\d+)\. '
            . 'A journal of a million trades \((\d+) MiB\) is written in\s(\d+) s, ([\d,]+) rows a second/';
        self::assertSame(1, preg_match($measured, (string) file_get_contents(self::DIRECTORY . '/../performance.md'), $found));
        [, $row, $values, $journal, $seconds, $rate] = $found;
        self::assertStringContainsString("$row bytes for a pending row of nine columns with $values bytes of values", $page);
        self::assertStringContainsString('a trade of 15 columns ' . round((int) $journal * 2 ** 20 / 1e6) . '.', $page);
        self::assertStringContainsString("$rate trades a second: 1,000,000 take $seconds s", $page);
        self::assertSame(1, preg_match('/took (\d+) MiB before, (\d+) MiB after/', $page, $merging));
        $merged = $merging[2] - $merging[1];
        self::assertStringContainsString("256 MiB and $merged MiB for merging", $page);
        $unit = (string) file_get_contents(self::DIRECTORY . '/spot-worker@.service');
        $pod = self::documents('kubernetes.yaml')[1]['spec']['template']['spec'];
        self::assertSame([1, '1Gi'], [preg_match('/^MemoryMax=1G$/m', $unit), $pod['containers'][0]['resources']['limits']['memory']]);
        self::assertStringContainsString('1 GiB, as in unit and manifest', $page);
        self::assertGreaterThan(256 + $merged, 1_024);
    }

    public function testThePageTellsOfEveryAlertAndFile(): void
    {
        $page = (string) file_get_contents(self::DIRECTORY . '/../operations.md');
        $alerts = array_column(self::alerts(self::yaml('prometheus-rules.yml')['groups']), 'alert');
        foreach ($alerts as $alert) {
            self::assertStringContainsString("| `$alert` |", $page);
        }
        preg_match_all('/`(WriteBuffer[A-Z]\w+)`/', $page, $named);
        self::assertSame([], array_diff($named[1], $alerts));
        foreach (array_diff(scandir(self::DIRECTORY) ?: [], ['.', '..']) as $file) {
            self::assertStringContainsString("(operations/$file)", $page);
        }
    }

    private function newWorkerDirectory(): string
    {
        $directory = $this->newDirectory();
        mkdir("$directory/vendor", 0700, true);
        copy(self::DIRECTORY . '/worker.php', "$directory/worker.php");
        file_put_contents("$directory/vendor/autoload.php", '<?php require ' . var_export(__DIR__ . '/bootstrap.php', true) . ';');
        $this->workers[] = $directory;
        return $directory;
    }

    /** The worker as it is shipped, whose application is a directory of its own. */
    private static function worker(string $directory, string $dsn, string $figures = 'figures.prom'): Subprocess
    {
        $settings = ['-d', 'log_errors=1', '-d', 'error_log=', '-d', 'write_buffer.retry_max_ms=100'];
        return Subprocess::program([PHP_BINARY, ...Subprocess::arguments(), ...$settings, "$directory/worker.php"], [
            'WRITE_BUFFER_DSN' => $dsn,
            'WRITE_BUFFER_JOURNAL_DIR' => "$directory/journal",
            'WRITE_BUFFER_METRICS_FILE' => "$directory/$figures",
        ]);
    }

    /** What a worker last said. */
    private static function figure(string $directory, string $metric, string $file = 'figures.prom'): ?int
    {
        preg_match("/^write_buffer_$metric\\{[^}]*\\} (\\d+)$/m", (string) @file_get_contents("$directory/$file"), $found);
        return isset($found[1]) ? (int) $found[1] : null;
    }

    /**
     * @param list<array{rules: list<array<string, mixed>>}> $groups
     * @return list<array<string, mixed>> without rules that only record
     */
    private static function alerts(array $groups): array
    {
        return array_values(array_filter($groups[0]['rules'], static fn (array $rule): bool => isset($rule['alert'])));
    }

    /**
     * What a process with a buffer that had an error says, and what is said of the command-line tool.
     *
     * @return array<string, list<string>> names of labels by metric
     */
    private static function emitted(): array
    {
        static $labels = null;
        if ($labels === null) {
            $buffer = new WriteBuffer(options: ['dsn' => 'mysql://nobody:x@127.0.0.1:1/none', 'max_retries' => 0]);
            $buffer->addTrade(self::trade(1));
            self::assertFalse($buffer->flush(2_000)->isSuccess());
            $text = PrometheusText::of([ProcessStatus::own(['spot' => $buffer->getStats()])]);
            $buffer->clear();
            $text .= strtr((string) file_get_contents(self::DIRECTORY . '/write-buffer-status'), ['$labels' => 'journal_dir=""']);
            $labels = [];
            preg_match_all('/^write_buffer_(\w+)\{(.*)\} /m', $text, $samples, PREG_SET_ORDER);
            foreach ($samples as [, $metric, $list]) {
                preg_match_all('/(\w+)="/', $list, $names);
                $labels[$metric] = $names[1];
            }
            preg_match_all('/^# TYPE write_buffer_(\w+)/m', $text, $types);
            self::assertEqualsCanonicalizing($types[1], array_keys($labels));
        }
        return $labels;
    }

    /** @return array<string, mixed> */
    private static function yaml(string $file): array
    {
        return self::documents($file)[0];
    }

    /** @return list<array<string, mixed>> */
    private static function documents(string $file): array
    {
        if (!class_exists(Yaml::class)) {
            @include_once 'Symfony/Component/Yaml/autoload.php';
        }
        if (!class_exists(Yaml::class)) {
            self::markTestSkipped('symfony/yaml (Debian: php-symfony-yaml) is not here to read the file with.');
        }
        return array_map(Yaml::parse(...), explode("\n---\n", (string) file_get_contents(self::DIRECTORY . "/$file")));
    }

    private static function needsProgram(string $program, string $package): void
    {
        if (trim((string) shell_exec('command -v ' . escapeshellarg($program))) === '') {
            self::markTestSkipped("$program (Debian: $package) is not here.");
        }
    }

    /** @return list<string> */
    private static function said(string $command): array
    {
        exec("$command 2>&1", $lines);
        return $lines;
    }
}
