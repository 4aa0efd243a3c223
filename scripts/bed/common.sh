# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2034 # the other parts use the variables
# Messages, builds for dom0, and the cache with its locks, for all parts of the test bed.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BED=$ROOT/scripts/bed
CACHE=$ROOT/.cache/bed

TARGET=x86_64-unknown-linux-gnu
# Programs for dom0 are static, so that no library is loaded when they start. By rustc's defaults they are also
# position-independent (static-pie) with full RELRO.
DOM0_RUSTFLAGS='-Ctarget-feature=+crt-static'

# dom0_cargo COMMAND [ARGUMENT...]: runs a command of cargo with the settings for dom0's programs.
dom0_cargo() {
    local command=$1
    shift
    RUSTFLAGS=$DOM0_RUSTFLAGS cargo "$command" --quiet --target "$TARGET" "$@"
}

# dom0_fixed PACKAGE PROGRAM [FLAG...]: builds one program for a fixed address, so that no page is relocated, and thus
# copied, when it starts. rustc gets the flag for the last crate only, so the builds of all other crates are shared
# with the daemons. With whole-program optimization the flag affects the code of all crates.
dom0_fixed() {
    dom0_cargo rustc --release --package "$1" --bin "$2" -- -Crelocation-model=static "${@:3}"
}

say() { printf 'nested: %s\n' "$*" >&2; }

# die STATUS MESSAGE...: prints the message and exits with the status.
die() {
    local status=$1
    shift
    say "$*"
    exit "$status"
}

BESIDE=()

# beside COMMAND [ARG...]: starts a command in the background, as process $!, in a process group of its own. The group
# is terminated when this script exits.
beside() {
    # With job control the shell creates the group, and the command does not ignore SIGINT.
    set -m
    "$@" </dev/null &
    set +m
    BESIDE+=("$!")
    trap end_beside EXIT
}

# end_beside: terminates the background commands that still run, and exits with this script's status.
end_beside() {
    local status=$? group
    for group in "${BESIDE[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done
    exit "$status"
}

# cached FILE BUILDER [ARG...]: unless FILE exists, creates it by running `BUILDER TEMPORARY [ARG...]`. If several runs
# need the file at once, one creates it and the others wait. A builder that fails leaves no file behind.
cached() {
    local file=$1 builder=$2 lock status=0
    shift 2
    # drop_old_files removes files by the time of their last use.
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
    ((status == 0)) || die "$status" "cannot create $file; see the messages above"
}

# pack FOLDER: writes FOLDER to stdout as an uncompressed initramfs archive, in which root owns all files.
pack() {
    (cd "$1" && find . -mindepth 1 -print0 | LC_ALL=C sort -z |
        cpio --quiet --null --create --format=newc --owner=+0:+0)
}

# digest FILE...: prints a short hash of the files' contents.
digest() {
    cat "$@" | sha256sum | cut -c 1-12
}

# drop_old_files: removes files from the cache that no run has used for two weeks.
drop_old_files() {
    find "$CACHE" -mindepth 1 -maxdepth 1 ! -name apt ! -name runs -mtime +14 -exec rm -rf {} +
    [[ ! -d $CACHE/apt ]] || find "$CACHE/apt" -name '*.deb' -mtime +14 -delete
}
