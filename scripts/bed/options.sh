# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2034 # the other parts use the variables
# The options of scripts/nested.

usage() {
    cat <<'END'
Usage: scripts/nested [OPTION]... -- COMMAND [ARG...]

Runs COMMAND as root in the dom0 of a real Xen, inside QEMU. Builds the project and its guests
first (scripts/build) and copies them into dom0: chaos and noxsd are on the PATH, noxsd runs, the
working directory has each guest's .cfg and image, bridge xenbr0 is 10.0.0.1/24. Standard output,
standard error and the exit status are COMMAND's.

  --cpus N                 processors of the machine; default 2, with --linux 1. Emulated, they
                           share one thread of QEMU: with a thread each, guests under load crash
  --memory MIB             memory of the machine; default 4096
  --dom0-memory MIB        the part of it for dom0; default 512
  --icount                 use a clock that counts instructions, 1 ns each; implies one processor
  --xenstore               run xenstored and xenconsoled, for xl; without it neither runs
  --systemd                run systemd as dom0's init, and COMMAND in a unit; the project's units are
                           installed (docs/chaosd.md), and COMMAND starts them: noxsd does not run
  --dpkg                   as --systemd, but without the project's programs and units: those are in
                           packages, which COMMAND installs with dpkg or apt
  --linux                  add a Linux kernel and ramdisk for guests to the working directory:
                           linux, linux.cpio. Emulated, it panics on more than one processor
  --grub                   add GRUB's image for PVH guests to the working directory: grub.bin
  --zen                    emulate an AMD Zen: on QEMU's own processor, a K8, Xen's PV shim panics
  --xen 4.17|4.20          Xen of Debian 12 or 13; default: that of the host's release
  --xen-file FILE          boot this Xen (xen or xen.gz), such as one that no package has; dom0 is that of
                           --xen. xl works with its own version only
  --xen-options OPTIONS    add to Xen's command line, such as sched=credit
  --timeout SECONDS        stop after this time, boot included; default 600
  --with HOSTPATH:DOM0PATH copy a file or folder into dom0; may be repeated
  --package NAME           add a Debian package and its dependencies to dom0; may be repeated
  --no-build               use the binaries as they are
  --accel kvm|tcg          default: KVM if Xen has run under it on this host, else emulation
  --help                   print this

Exit status: COMMAND's (128 + N if signal N killed it, 126 or 127 if it could not be run);
124 after the timeout, 125 if Xen or QEMU exited before COMMAND did, 2 if an option is wrong or
something could not be built or fetched. Xen's console is kept in .cache/bed/runs (the last 20).

Examples:
  scripts/nested -- chaos create redis.cfg
  scripts/nested -- sh -c 'chaos create redis.cfg && redis-cli -h 10.0.0.2 ping'
  scripts/nested --xenstore --xen 4.20 -- xl info
  scripts/nested --systemd -- sh -c 'systemctl start noxsd chaosd && journalctl --unit noxsd'
  scripts/nested --icount --with ./trace.sh:/root/trace.sh --package strace -- ./trace.sh
END
}

# options ARGUMENT...: sets the run's variables, and COMMAND.
options() {
    CPUS='' MEMORY=4096 DOM0_MEMORY=512 ICOUNT=0 XENSTORE=0 SYSTEMD=0 DPKG=0 LINUX=0 GRUB=0 ZEN=0 XEN='' XEN_FILE='' TIMEOUT=600 BUILD=1 ACCEL='' XEN_OPTIONS=''
    WITH=() PACKAGES=()
    while (($#)); do
        case $1 in
        --cpus | --memory | --dom0-memory | --timeout)
            number "$@"
            ;;&
        --xen | --xen-file | --xen-options | --with | --package | --accel)
            (($# > 1)) || die 2 "$1 needs a value; see --help"
            ;;&
        --cpus) CPUS=$2; shift 2 ;;
        --memory) MEMORY=$2; shift 2 ;;
        --dom0-memory) DOM0_MEMORY=$2; shift 2 ;;
        --timeout) TIMEOUT=$2; shift 2 ;;
        --xen) XEN=$2; shift 2 ;;
        --xen-file) XEN_FILE=$2; shift 2 ;;
        --xen-options) XEN_OPTIONS=$2; shift 2 ;;
        --with) WITH+=("$2"); shift 2 ;;
        --package) PACKAGES+=("$2"); shift 2 ;;
        --accel) ACCEL=$2; shift 2 ;;
        --icount) ICOUNT=1; shift ;;
        --xenstore) XENSTORE=1; shift ;;
        --systemd) SYSTEMD=1 PACKAGES+=(systemd); shift ;;
        --dpkg) SYSTEMD=1 DPKG=1 PACKAGES+=(systemd apt dpkg dash init-system-helpers libc-bin perl-base); shift ;;
        --linux) LINUX=1; shift ;;
        --grub) GRUB=1; shift ;;
        --zen) ZEN=1; shift ;;
        --no-build) BUILD=0; shift ;;
        --help) usage; exit ;;
        --) shift; break ;;
        -*) die 2 "unknown option $1; see --help" ;;
        *) die 2 "$1: write -- before the command; see --help" ;;
        esac
    done
    (($#)) || die 2 "no command given; see --help"
    COMMAND=("$@")
    check_options
}

# number OPTION VALUE: exits with 2 unless the value is a positive number of at most nine digits.
number() {
    (($# > 1)) || die 2 "$1 needs a number; see --help"
    # No leading zero: the shell would read the number as octal.
    [[ $2 =~ ^[1-9][0-9]{0,8}$ ]] || die 2 "$1 '$2': must be a whole number of at least 1"
}

check_options() {
    local with
    XEN=${XEN:-$(host_xen)}
    RELEASE=$(release_of "$XEN")
    CPUS=${CPUS:-$((LINUX ? 1 : 2))}
    ((CPUS <= 64)) || die 2 "--cpus $CPUS: must be at most 64"
    ((DOM0_MEMORY >= 256)) || die 2 "--dom0-memory $DOM0_MEMORY: must be at least 256 MiB"
    # Xen, its heap and the boot modules need memory, too.
    ((MEMORY >= DOM0_MEMORY + 256)) ||
        die 2 "--memory $MEMORY: must be at least 256 MiB more than dom0's $DOM0_MEMORY"
    if ((ICOUNT)); then
        [[ $ACCEL != kvm ]] || die 2 "--icount counts emulated instructions; remove --accel kvm"
        ACCEL=tcg CPUS=1
    fi
    [[ $ACCEL =~ ^(kvm|tcg|)$ ]] || die 2 "--accel $ACCEL: must be kvm or tcg"
    for with in "${WITH[@]}"; do
        [[ $with == *:/* ]] || die 2 "--with $with: must be HOSTPATH:DOM0PATH; DOM0PATH begins with /"
        [[ -e ${with%:/*} ]] || die 2 "--with $with: ${with%:/*} does not exist"
        [[ ! /${with##*:/} =~ ^/+(var/+)?(dev|lock|proc|run|sys)(/|$) ]] ||
            die 2 "--with $with: dom0 mounts ${BASH_REMATCH[0]%/} when it boots, which would hide the file"
    done
    for with in "${PACKAGES[@]}"; do
        [[ $with =~ ^[a-z0-9][a-z0-9+.-]+$ ]] || die 2 "--package $with: not a valid package name"
    done
}

# host_xen: prints the Xen version of the host's own Debian release.
host_xen() {
    # shellcheck source=/dev/null
    case $(. /etc/os-release && echo "${VERSION_CODENAME:-}") in
    trixie) echo 4.20 ;;
    *) echo 4.17 ;;
    esac
}
