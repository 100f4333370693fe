<?php

declare(strict_types=1);

return ['driver' => 'array', 'lifetime' => 5, 'cookie' => 's', 'files' => storage_path('framework')];
