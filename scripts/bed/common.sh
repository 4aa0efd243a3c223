# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for the other parts
# Messages, the cache and its locks, for all parts of the test bed.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BED=$ROOT/scripts/bed
CACHE=$ROOT/.cache/bed

# How programs for dom0 are built: with nothing to load at their start, and at a fixed address, so
# that no page needs to be copied for relocation.
DOM0_RUSTFLAGS='-Ctarget-feature=+crt-static -Crelocation-model=static'

say() { printf 'nested: %s\n' "$*" >&2; }

# die STATUS MESSAGE...
die() {
    local status=$1
    shift
    say "$*"
    exit "$status"
}

# cached FILE BUILDER [ARG...]: makes FILE by running `BUILDER TEMPORARY [ARG...]`, unless it is
# there. Runs that need the same file at once wait for one of them to make it; a builder that
# fails leaves nothing.
cached() {
    local file=$1 builder=$2 lock status=0
    shift 2
    # Its time says when it was last of use: see drop_old_files.
    [[ -e $file ]] && { touch "$file"; return; }
    mkdir -p "$(dirname "$file")"
    exec {lock}>"$file.lock"
    flock "$lock"
    if [[ ! -e $file ]]; then
        rm -rf "$file.new"
        # As the left side of `||`, the builder would run with `set -e` off.
        (set -e; "$builder" "$file.new" "$@") &
        wait $! || status=$?
        if ((status == 0)); then mv "$file.new" "$file"; else rm -rf "$file.new"; fi
    fi
    exec {lock}>&-
    ((status == 0)) || die "$status" "could not make $file"
}

# pack FOLDER: writes FOLDER as an uncompressed initramfs archive to stdout, everything root's.
pack() {
    (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
        cpio --quiet --null --create --format=newc --owner=+0:+0)
}

# digest FILE...: a short name for what the files hold.
digest() {
    cat "$@" | sha256sum | cut -c 1-12
}

# drop_old_files: removes from the cache what no run has used for two weeks.
drop_old_files() {
    find "$CACHE" -mindepth 1 -maxdepth 1 ! -name apt ! -name runs -mtime +14 -exec rm -rf {} +
    [[ ! -d $CACHE/apt ]] || find "$CACHE/apt" -name '*.deb' -mtime +14 -delete
}
