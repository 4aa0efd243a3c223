# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# The hypervisor, dom0's kernel with the modules that dom0 needs, and a ramdisk for Linux guests.

# dom0's kernel comes from this release with each Xen, because this kernel is known to run as an emulated PV dom0.
KERNEL_RELEASE=bookworm
# Loaded at boot, in this order.
MODULES=(xen-evtchn xen-gntdev xen-gntalloc xen-privcmd xenfs virtio_pci virtio_console
    tun bridge xen-netback xen-blkback loop)
# The modules that a Linux guest needs in XenStore mode.
GUEST_MODULES=(xen-netfront xen-blkfront)
# Modules for containers and for disks in other formats than raw, which are loaded by `modprobe`.
MORE_MODULES=(nbd overlay veth br_netfilter iptable_nat iptable_filter xt_conntrack xt_addrtype
    xt_MASQUERADE crc32c_generic)

# make_xen FILE XEN: fetches the hypervisor, as an ELF file for QEMU's -kernel.
make_xen() {
    local release folder=$1.d
    release=$(release_of "$2")
    private_apt "$release"
    say "fetching Xen $2"
    unpack "$release" "$folder" "xen-hypervisor-$2-amd64"
    zcat "$folder/boot/xen-$2-amd64.gz" >"$1"
    rm -rf "$folder"
}

# unpack_xen FILE XEN: writes a hypervisor, gzip-compressed or not, as an ELF file.
unpack_xen() {
    gzip --decompress --force --stdout <"$2" >"$1"
}

# make_kernel FOLDER: fetches dom0's kernel: FOLDER/vmlinux is the kernel, FOLDER/root its modules, and
# FOLDER/guest.cpio a ramdisk for guests with the same kernel.
make_kernel() {
    local folder=$1 package version
    private_apt "$KERNEL_RELEASE"
    package=$(apt-cache -c "$CACHE/apt/$KERNEL_RELEASE/conf" depends linux-image-amd64 |
        sed -nE 's/.*Depends: (linux-image-.*)/\1/p')
    say "fetching dom0's kernel, $package"
    unpack "$KERNEL_RELEASE" "$folder/all" "$package" busybox-static
    version=${package#linux-image-}
    unpack_kernel "$folder/all/boot/vmlinuz-$version" >"$folder/vmlinux"
    pick_modules "$folder" "$version"
    make_guest "$folder" "$version"
    rm -rf "$folder/all"
}

# unpack_kernel BZIMAGE: writes the ELF file inside to stdout. Xen could unpack it, but emulated that takes ten seconds
# at each boot.
unpack_kernel() {
    local sectors offset length
    # Linux's Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length.
    sectors=$(od -An -tu1 -j $((0x1f1)) -N 1 "$1")
    offset=$(od -An -tu4 -j $((0x248)) -N 4 "$1")
    length=$(od -An -tu4 -j $((0x24c)) -N 4 "$1")
    # The payload ends with its unpacked length, which does not belong to the xz stream: so --single-stream.
    dd if="$1" bs=1M iflag=skip_bytes,count_bytes status=none \
        skip=$(((sectors + 1) * 512 + offset)) count=$((length)) | xz --decompress --single-stream
}

# pick_modules FOLDER VERSION: copies the modules from FOLDER/all to FOLDER/root, and lists those to load at boot.
pick_modules() {
    local folder=$1 version=$2 module busybox
    local from=$folder/all/lib/modules/$version to=$folder/root/lib/modules/$version
    busybox=$(find "$folder/all" -path '*bin/busybox')
    "$busybox" depmod -b "$folder/all" "$version"

    mkdir -p "$folder/root/etc" "$to"
    for module in "${MODULES[@]}"; do
        with_dependencies "$from" "$module"
    done | awk '!seen[$0]++' >"$folder/load"
    sed "s|^|/lib/modules/$version/|" "$folder/load" >"$folder/root/etc/modules-at-boot"
    for module in "${MORE_MODULES[@]}"; do
        with_dependencies "$from" "$module"
    done >>"$folder/load"
    (cd "$from" && sort -u "$folder/load" | xargs cp --parents -t "$to")
    "$busybox" depmod -b "$folder/root" "$version"
    rm "$folder/load"
}

# make_guest FOLDER VERSION: creates a guest's ramdisk with busybox, the frontend drivers, and an init.
make_guest() {
    local guest=$1/guest from=$1/all/lib/modules/$2 module busybox number=10
    busybox=$(find "$1/all" -path '*bin/busybox')
    mkdir -p "$guest"/{bin,sbin,modules,proc,sys,dev}
    install -m 755 "$busybox" "$guest/bin/busybox"
    "$busybox" --list | xargs -I{} ln -s busybox "$guest/bin/{}" 2>/dev/null || true
    for module in "${GUEST_MODULES[@]}"; do
        with_dependencies "$from" "$module"
    done | awk '!seen[$0]++' | while read -r module; do
        # The guest's init loads modules in the order of their names.
        cp "$from/$module" "$guest/modules/$((number++))-${module##*/}"
    done
    install -m 755 "$BED/linux-init" "$guest/init"
    # The guest's kernel runs these when dom0 requests a shutdown or a reboot.
    printf '#!/bin/busybox sh\nexec /bin/busybox %s -f\n' poweroff >"$guest/sbin/poweroff"
    printf '#!/bin/busybox sh\nexec /bin/busybox %s -f\n' reboot >"$guest/sbin/reboot"
    chmod 755 "$guest"/sbin/*
    pack "$guest" >"$1/guest.cpio"
    rm -rf "$guest"
}

# with_dependencies FOLDER MODULE: prints the module's file and those it needs, in load order.
with_dependencies() {
    local line
    # A module's name may be written with - or _.
    line=$(grep -E "/${2//[-_]/[-_]}\.ko[^/]*:" "$1/modules.dep") || {
        grep -qE "/${2//[-_]/[-_]}\.ko" "$1/modules.builtin" && return
        die 2 "the kernel has no module $2"
    }
    # modules.dep names the module first, then its dependencies from the nearest to the farthest.
    tr -d : <<<"$line" | tr ' ' '\n' | sed '/^$/d' | tac
}
