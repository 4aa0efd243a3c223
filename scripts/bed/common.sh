# shellcheck shell=bash
# shellcheck disable=SC2034 # variables are for the other parts
# Messages, the cache and its locks, for all parts of the test bed.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BED=$ROOT/scripts/bed
CACHE=$ROOT/.cache/bed

TARGET=x86_64-unknown-linux-gnu
# How programs for dom0 are built: static, so that nothing is loaded at their start. By rustc's defaults they are
# position-independent (static-pie) with full RELRO.
DOM0_RUSTFLAGS='-Ctarget-feature=+crt-static'

# dom0_cargo COMMAND [ARGUMENT...]: runs a command of cargo for dom0's programs.
dom0_cargo() {
    local command=$1
    shift
    RUSTFLAGS=$DOM0_RUSTFLAGS cargo "$command" --quiet --target "$TARGET" "$@"
}

# dom0_fixed PACKAGE PROGRAM [FLAG...]: builds one program for a fixed address, where no page is copied at the start
# to be relocated. The flag goes to the last crate only, so that all others are shared with the daemons; with
# whole-program optimization it governs the code of all crates.
dom0_fixed() {
    dom0_cargo rustc --release --package "$1" --bin "$2" -- -Crelocation-model=static "${@:3}"
}

say() { printf 'nested: %s\n' "$*" >&2; }

# die STATUS MESSAGE...
die() {
    local status=$1
    shift
    say "$*"
    exit "$status"
}

BESIDE=()

# beside COMMAND [ARG...]: starts a command in the background, as process $!. It has a process group of its own,
# which ends with this script, however that ends.
beside() {
    # Job control makes the group, and keeps the shell from having the command ignore SIGINT.
    set -m
    "$@" </dev/null &
    set +m
    BESIDE+=("$!")
    trap end_beside EXIT
}

# end_beside: ends what still runs beside this script, and exits with its status.
end_beside() {
    local status=$? group
    for group in "${BESIDE[@]}"; do kill -TERM -- "-$group" 2>/dev/null || true; done
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
