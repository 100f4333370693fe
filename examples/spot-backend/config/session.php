<?php

declare(strict_types=1);

return ['driver' => 'array', 'lifetime' => 120, 'cookie' => 'spot', 'path' => '/'];
