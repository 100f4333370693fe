<?php

declare(strict_types=1);

namespace App\Models;

use Illuminate\Database\Eloquent\Model;
use WriteBuffer\Laravel\Eloquent\BuffersWrites;

/**
 * @property int $id
 * @property string $size
 * @property array<string, mixed>|null $tags
 */
final class Position extends Model
{
    use BuffersWrites;

    public $incrementing = false;
    protected $table = 'wb_positions';
    protected $guarded = [];
    protected $casts = ['tags' => 'array', 'opened_at' => 'datetime'];
}
