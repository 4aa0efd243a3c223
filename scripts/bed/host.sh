# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# Installs the few packages that the host itself needs, and chooses how Xen runs there.

# build_packages: installs the packages that cargo needs beside Rust. A user other than root gets the command to
# install them, and exit status 2.
build_packages() {
    local missing=()
    [[ -x $(command -v cc) ]] || missing+=(gcc)
    [[ -e /usr/lib/x86_64-linux-gnu/libc.a ]] || missing+=(libc6-dev)
    install_missing "${missing[@]}"
}

# host_packages [PROGRAM:PACKAGE]...: likewise installs the packages that a run needs, and the given packages whose
# programs are missing.
host_packages() {
    local missing=() wanted
    for wanted in "$@"; do
        [[ -x $(command -v "${wanted%%:*}") ]] || missing+=("${wanted#*:}")
    done
    [[ -x $(command -v qemu-system-x86_64) ]] || missing+=(qemu-system-x86)
    [[ -x $(command -v cpio) ]] || missing+=(cpio)
    [[ -x $(command -v xz) ]] || missing+=(xz-utils)
    install_missing "${missing[@]}"
}

# install_missing [PACKAGE]...: installs packages, or prints the command and exits with 2 if the user is not root.
install_missing() {
    (($#)) || return 0
    local install=(apt-get install --yes --no-install-recommends "$@")
    if ((EUID)); then
        say "packages are missing on this host; as root, run"
        die 2 "    apt-get update && ${install[*]}"
    fi
    say "installing on this host: $*"
    # Two runs may start at once on a fresh machine, so let apt wait for its lock.
    {
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "${install[@]:1}"
    } >&2 || die 2 "apt-get could not install: $*"
}

# counts_instructions: returns whether this host's QEMU can run Xen on a clock that counts instructions (-icount). With
# QEMU 10 (Debian 13) that ends when Xen sets up its timer: "Bad icount read".
counts_instructions() {
    [[ $(qemu-system-x86_64 --version) =~ version\ [0-9]\. ]]
}

# kvm_nests: returns whether this machine's KVM claims to run a hypervisor in a guest.
kvm_nests() {
    local parameter
    [[ -r /dev/kvm && -w /dev/kvm ]] || return
    grep -qwE 'svm|vmx' /proc/cpuinfo || return
    for parameter in /sys/module/kvm_{intel,amd}/parameters/nested; do
        [[ -r $parameter && $(<"$parameter") == [Y1] ]] && return
    done
    return 1
}

# choose_accel: prints kvm if Xen and a dom0 have run under it on this host, else tcg.
choose_accel() {
    local seen
    kvm_nests || { echo tcg; return; }
    seen=$CACHE/accel-$(uname -r)-$XEN
    cached "$seen" try_kvm
    cat "$seen"
}

# try_kvm FILE: boots Xen under KVM, and writes kvm to FILE if that works, else tcg.
try_kvm() {
    say "trying Xen under KVM"
    if "$ROOT/scripts/nested" --accel kvm --no-build --xen "$XEN" --timeout 60 -- true; then
        echo kvm >"$1"
    else
        say "Xen does not run under KVM on this host; it will be emulated"
        echo tcg >"$1"
    fi
}
