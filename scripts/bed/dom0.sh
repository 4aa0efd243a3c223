# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2153 # WITH is set in options.sh
# dom0's initramfs: the cached layers, and on top the files that change from run to run.

BINARIES=(chaos chaos-top noxsd chaosd)

MIB=$((1 << 20))
# The MiB of dom0's memory that its kernel takes.
DOM0_SYSTEM=60

# make_runner FILE: builds dom0-run.
make_runner() {
    local target=$1.target
    build_packages
    command -v cargo >/dev/null || die 2 "cargo is missing: install Rust (https://rustup.rs)"
    CARGO_TARGET_DIR=$target dom0_cargo build --locked --release --manifest-path "$BED/dom0-run/Cargo.toml" >&2
    cp "$target/$TARGET/release/dom0-run" "$1"
    rm -rf "$target"
}

# initramfs: writes dom0's initramfs to stdout. Needs $RUN, $LAYERS, $RUNNER.
initramfs() {
    local top=$RUN/top
    stage_programs "$top"
    stage_guests "$top/root"
    ((!SYSTEMD)) || stage_systemd "$top"
    ((!LINUX)) || stage_linux "$top/root"
    ((!GRUB)) || install -m 644 "$GRUB_IMAGE" "$top/root/grub.bin"
    stage_with "$top"
    printf '%s\0' dom0-session "${COMMAND[@]}" >"$top/etc/bed/command"
    ((!XENSTORE)) || : >"$top/etc/bed/xenstore"
    cat "${LAYERS[@]}"
    pack "$top"
}

# check_size ARCHIVE: exits with 2 unless dom0's memory holds the initramfs.
check_size() {
    local files needed more=''
    files=$((($(stat -c %s "$1") + MIB - 1) / MIB))
    # While Linux unpacks the archive, files may take half of the memory that neither the archive nor Linux itself
    # takes. For each page, Linux takes 64 bytes.
    needed=$(((3 * files + DOM0_SYSTEM) * 64 / 63 + 1))
    ((DOM0_MEMORY < needed)) || return 0
    ((MEMORY >= needed + 256)) || more=" --memory $((needed + 256))"
    die 2 "the files of dom0 take $files MiB, so it needs $needed MiB of memory, not $DOM0_MEMORY: give" \
        "--dom0-memory $needed$more, or fewer files and packages"
}

# stage_programs TOP: adds init, the test bed's own programs, and the project's.
stage_programs() {
    local name file
    # Create the links of the merged /usr, so that --with also works for a path below /bin.
    skeleton "$1"
    mkdir -p "$1"/{root,etc/bed,usr/local/bin}
    install -m 755 "$BED/dom0/init" "$1/init"
    install -m 755 "$BED"/dom0/sbin/* "$1/usr/sbin/"
    install -m 644 "$BED"/dom0/etc/* "$1/etc/"
    install -m 755 "$RUNNER" "$1/usr/sbin/dom0-run"
    ((!DPKG)) || return 0
    for name in "${BINARIES[@]}"; do
        file=$ROOT/target/$TARGET/release/$name
        [[ ! -x $file ]] || install -m 755 "$file" "$1/usr/local/bin/$name"
    done
}

# stage_systemd TOP: makes systemd dom0's init, and installs the project's units, and the programs where the units expect
# them; with --dpkg, none of both.
stage_systemd() {
    local units=$ROOT/split/systemd name
    mkdir -p "$1"/usr/lib/{systemd/system,sysusers.d,tmpfiles.d}
    install -m 644 "$BED/dom0/systemd/bed.service" "$1/usr/lib/systemd/system/"
    # systemd-sysusers creates them.
    sed -i -E '/^(noxsd|chaos):/d' "$1"/etc/{passwd,group}
    # Without an ID, systemd takes this for the first boot, and enables all units.
    printf '%032d\n' 1 >"$1/etc/machine-id"
    : >"$1/etc/bed/systemd"
    ((!DPKG)) || return 0
    install -m 644 "$units"/*.service "$1/usr/lib/systemd/system/"
    for name in chaos noxsd; do
        install -m 644 "$units/$name.sysusers" "$1/usr/lib/sysusers.d/$name.conf"
    done
    install -m 644 "$units/chaos.tmpfiles" "$1/usr/lib/tmpfiles.d/chaos.conf"
    for name in "${BINARIES[@]}"; do
        ln -s "../local/bin/$name" "$1/usr/bin/$name"
    done
}

# stage_guests FOLDER: adds each guest's configuration and image.
stage_guests() {
    local cfg image
    for cfg in "$ROOT"/guests/*/*.cfg; do
        [[ -e $cfg ]] || continue
        install -m 644 "$cfg" "$1/"
        image=$ROOT/guests/target/$TARGET/release/$(basename "$cfg" .cfg)
        [[ ! -e $image ]] || install -m 644 "$image" "$1/"
    done
}

# stage_linux FOLDER: adds dom0's own kernel, and a ramdisk, for Linux guests.
stage_linux() {
    install -m 644 "$KERNEL/vmlinux" "$1/linux"
    install -m 644 "$KERNEL/guest.cpio" "$1/linux.cpio"
}

# stage_with TOP: adds the files and folders of --with. The files of a folder are added to those that exist.
stage_with() {
    local with source target
    for with in "${WITH[@]}"; do
        source=${with%:/*} target=$1/${with##*:/}
        if [[ -d $source ]]; then
            mkdir -p "$target"
            cp -RL --preserve=mode "$source/." "$target/"
        else
            # As with cp, the target is a folder if it exists as one, or if it ends with a slash.
            [[ $with != */ ]] || mkdir -p "$target"
            mkdir -p "$(dirname "$target")"
            cp -L --preserve=mode "$source" "$target"
        fi
    done
}
