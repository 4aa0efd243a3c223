# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# GRUB as the kernel of a PVH guest.

# make_grub FILE RELEASE: fetches Debian's image of GRUB for PVH guests (grub-mkimage -O i386-xen_pvh).
make_grub() {
    local file=$1 release=$2 folder=$1.d
    private_apt "$release"
    say "fetching GRUB for PVH guests"
    unpack "$release" "$folder" grub-xen-host
    cp "$folder/usr/lib/grub-xen/grub-i386-xen_pvh.bin" "$file"
    rm -rf "$folder"
}
