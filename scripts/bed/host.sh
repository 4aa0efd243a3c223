# shellcheck shell=bash
# The few packages that the host itself needs.

# build_packages: installs what cargo needs beside Rust, or says how and exits 2.
build_packages() {
    local missing=()
    [[ -x $(command -v cc) ]] || missing+=(gcc)
    [[ -e /usr/lib/x86_64-linux-gnu/libc.a ]] || missing+=(libc6-dev)
    install_missing "${missing[@]}"
}

# host_packages [PROGRAM:PACKAGE]...: installs what a run needs, and the packages whose programs are
# not there, or says how and exits 2.
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

# install_missing [PACKAGE]...
install_missing() {
    (($#)) || return 0
    local install=(apt-get install --yes --no-install-recommends "$@")
    if ((EUID)); then
        say "packages are missing on this host; as root, run"
        die 2 "    apt-get update && ${install[*]}"
    fi
    say "installing on this host: $*"
    # Two runs on a fresh machine: apt waits for its own lock.
    {
        apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "${install[@]:1}"
    } >&2 || die 2 "apt-get could not install: $*"
}

# kvm_nests: true if this machine's KVM claims to run a hypervisor inside a guest.
kvm_nests() {
    local parameter
    [[ -r /dev/kvm && -w /dev/kvm ]] || return
    grep -qwE 'svm|vmx' /proc/cpuinfo || return
    for parameter in /sys/module/kvm_{intel,amd}/parameters/nested; do
        [[ -r $parameter && $(<"$parameter") == [Y1] ]] && return
    done
    return 1
}

# choose_accel: prints kvm if Xen and its dom0 have been seen to run under it here, else tcg.
choose_accel() {
    local seen
    kvm_nests || { echo tcg; return; }
    seen=$CACHE/accel-$(uname -r)-$XEN
    cached "$seen" try_kvm
    cat "$seen"
}

# try_kvm FILE: writes to FILE what this machine is good for.
try_kvm() {
    say "trying Xen under KVM"
    if "$ROOT/scripts/nested" --accel kvm --no-build --xen "$XEN" --timeout 60 -- true; then
        echo kvm >"$1"
    else
        say "it does not work here: Xen will be emulated"
        echo tcg >"$1"
    fi
}
