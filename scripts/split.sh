#!/usr/bin/env bash
# Gives a directory of this repository, with the licence, to a repository of its own as one more commit
# there, tagged as the release: Composer finds a package at the root of a repository alone. A release that
# is there already is left as it is.
#
#   scripts/split.sh DIRECTORY REPOSITORY VERSION [REVISION]     default: HEAD
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "split: $*" >&2; exit 1; }

directory=${1:?which directory}
repository=${2:?the repository that it goes to}
version=${3:?the version}
revision=$(git rev-parse --verify --quiet "${4:-HEAD}^{commit}") || fail "there is no ${4:-HEAD}"
git cat-file -e "$revision:$directory/composer.json" || fail "$directory is no Composer package"

there=$(git ls-remote "$repository") || fail "$repository does not answer"
! grep -q "refs/tags/$version\$" <<< "$there" || { echo "split: $version is there"; exit 0; }

index=$(mktemp -u)
trap 'rm -f "$index"' EXIT
tree=$(
    export GIT_INDEX_FILE=$index
    git read-tree "$revision:$directory"
    git update-index --add --cacheinfo "100644,$(git rev-parse "$revision:LICENSE"),LICENSE"
    git write-tree
)
parent=()
if grep -q 'refs/heads/main$' <<< "$there"; then
    git fetch --quiet --no-tags "$repository" refs/heads/main
    parent=(-p "$(git rev-parse FETCH_HEAD)")
fi
# Whoever made the release is whoever made the commit, at the same time: the same commit each time.
GIT_AUTHOR_NAME=$(git log -1 --format=%an "$revision") GIT_AUTHOR_EMAIL=$(git log -1 --format=%ae "$revision")
GIT_AUTHOR_DATE=$(git log -1 --format=%aI "$revision")
export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME \
    GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
commit=$(git commit-tree "$tree" "${parent[@]}" -m "Release $version, $directory of ${revision::12}")
git push --quiet --atomic "$repository" "$commit:refs/heads/main" "$commit:refs/tags/$version"
echo "split: $directory is $version at its root"
