<?php

declare(strict_types=1);

namespace WriteBuffer\Tests\Laravel;

use WriteBuffer\Tests\Laravel\Support\LaravelTestCase;
use WriteBuffer\Tests\Support\Database;

/**
 * The code in the documentation does what is said there: each block that imports something
 * is run in an application.
 */
final class DocumentationTest extends LaravelTestCase
{
    public function testTheWayFromThePhpBuffer(): void
    {
        self::needsExtension();
        foreach ([5001, 5002] as $order) {
            Database::createOrder($order);
        }
        Database::createAccount(7, 'usd', '100000');
        $said = $this->shown('docs/from-the-php-buffer.md', 4, 'echo json_encode([$written, $waiting, $order["executed_quantity"]]);');
        self::assertSame('[3,0,"1.25"]', $said);
        self::assertSame(['executed', 'executed'], array_column(Database::rows('SELECT status FROM orders'), 'status'));
        self::assertSame(2, Database::count('order_transactions'));
        self::assertDecimal('2499.875', Database::value('SELECT balance FROM spot_usd_accounts'));
    }

    public function testTheReadme(): void
    {
        self::needsExtension();
        Database::create('positions', 'id INT PRIMARY KEY, size VARCHAR(20) NOT NULL');
        Database::create('wallets', 'id INT PRIMARY KEY, balance ' . Database::money() . ' NOT NULL');
        Database::create('wb_positions', 'id INT PRIMARY KEY, size VARCHAR(20) NOT NULL, status VARCHAR(20), created_at VARCHAR(30), updated_at VARCHAR(30)');
        Database::execute("INSERT INTO wallets VALUES (7, '20000'), (8, '0')");
        $tables = [
            'positions' => ['mode' => 'upsert', 'key' => 'id'],
            'wallets' => ['mode' => 'delta', 'key' => 'id', 'delta' => ['balance']],
            'wb_positions' => ['mode' => 'upsert', 'key' => 'id'],
        ];
        $this->shown('laravel/README.md', 3, '', ['write-buffer.buffers.default.tables' => $tables]);
        self::assertSame(1, Database::count('positions'));
        self::assertDecimal('499.875', Database::value('SELECT balance FROM wallets WHERE id = 7'));
        self::assertSame([2, 'open'], [(int) Database::value('SELECT MIN(id) FROM wb_positions'), Database::value('SELECT status FROM wb_positions ORDER BY id')]);
        self::assertSame(3, Database::count('wb_positions'));
        self::assertSame(0, Database::count('orders'));
        Database::drop('positions', 'wallets', 'wb_positions');
    }

    /**
     * @param int $expected how many blocks there are
     * @param array<string, mixed> $config
     */
    private function shown(string $page, int $expected, string $finally, array $config = []): string
    {
        preg_match_all('/^```php\n(use .*?)^```$/ms', (string) file_get_contents(__DIR__ . "/../../$page"), $blocks);
        self::assertCount($expected, $blocks[1]);
        [$body, $imports] = ['', []];
        foreach ($blocks[1] as $block) {
            $body .= preg_replace('/^use [^(;]+;.*$/m', '', $block);
            preg_match_all('/^use [^(;]+;/m', $block, $found);
            array_push($imports, ...$found[0]);
        }
        $script = '<?php ' . implode("\n", array_unique($imports)) . "\n" . 'error_reporting(E_ALL & ~E_DEPRECATED);'
            . '$app = require "bootstrap/app.php"; $app->make(Illuminate\Contracts\Console\Kernel::class)->bootstrap();' . "\n$body\n$finally\n" . '$app->terminate();';
        file_put_contents("{$this->application->directory}/page.php", $script);
        $process = $this->application->php(['page.php'], ['TEST_CONFIG' => (string) json_encode((object) $config)]);
        $process->wait();
        self::assertSame([0, ''], [$process->getExitCode(), $process->getErrorOutput()], $process->getOutput());
        return $process->getOutput();
    }
}
