#!/usr/bin/env bash
# Splits the two Composer libraries off as a release does, twice, into repositories made here, and lets Composer
# install from those what the tag names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "test-split: $*" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export COMPOSER_HOME=$work/composer COMPOSER_ALLOW_SUPERUSER=1 COMPOSER_NO_INTERACTION=1

mkdir "$work/project"
printf '{ "repositories": [{ "packagist": false }' > "$work/project/composer.json"
for directory in laravel php-stubs; do
    git init --quiet --bare "$work/$directory"
    scripts/split.sh "$directory" "$work/$directory" 0.0.1
    scripts/split.sh "$directory" "$work/$directory" 0.0.2
    [ "$(scripts/split.sh "$directory" "$work/$directory" 0.0.2)" = 'split: 0.0.2 is there' ] || fail "$directory was released twice"
    [ "$(git -C "$work/$directory" rev-list --count main)" = 2 ] || fail "$directory has another history than its two releases"
    printf ', { "type": "git", "url": "%s" }' "$work/$directory" >> "$work/project/composer.json"
done
printf '] }\n' >> "$work/project/composer.json"

cd "$work/project"
composer require --quiet write-buffer/laravel:0.0.1 || fail "Composer does not install write-buffer/laravel"
composer require --quiet --dev write-buffer/stubs:0.0.1 || fail "Composer does not install write-buffer/stubs"
composer update --quiet --with-all-dependencies
composer show --no-ansi | sed 's/  */ /g'
for file in vendor/write-buffer/{laravel,stubs}/{LICENSE,composer.json} vendor/write-buffer/stubs/{extension.neon,write_buffer.stub.php}; do
    [ -s "$file" ] || fail "the package lacks $file"
done
"${PHP:-php}" -n -r 'require "vendor/autoload.php";
    exit(class_exists(WriteBuffer\SyncWriteBuffer::class) && interface_exists(WriteBuffer\WriteBufferInterface::class) ? 0 : 1);' \
    || fail "what was installed does not load"
echo "test-split: installed and loaded"
