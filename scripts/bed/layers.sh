# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# The cached layers of dom0's initramfs.

# Packages that others depend on for their installation scripts, which never run here.
NEEDLESS='^(adduser|audit-common|base-files|base-passwd|debconf|debianutils|dpkg|gcc-.*-base|init-system-helpers|libaudit.*|libc-bin|libcap-ng0|libdb5.*|libdebconf.*|libgssapi.*|libk5.*|libkeyutils.*|libkrb5.*|libnsl2|libpam.*|libpython.*|libsemanage.*|libsepol.*|libsqlite.*|libssl.*-udeb|libtirpc.*|login.defs|mawk|media-types|openssl-provider-legacy|passwd|perl.*|python3.*|readline-common|sensible-utils|sysvinit-utils|tar|ucf|udev)$'

# release_of XEN: prints the Debian release that has this Xen version. dom0's programs come from it, too.
release_of() {
    case $1 in
    4.17) echo bookworm ;;
    4.20) echo trixie ;;
    *) die 2 "--xen $1: must be 4.17 or 4.20" ;;
    esac
}

# trim FOLDER: removes files that dom0 does not need: its root is in memory. Perl is only for the scripts of packages that
# dpkg installs.
trim() {
    rm -rf "$1"/usr/share/gcc "$1"/usr/lib/x86_64-linux-gnu/engines-3 "$1"/usr/bin/redis-check-*
    rm -rf "$1"/usr/share/{doc,man,info,locale,lintian,bug,perl5,bash-completion,zsh,gdb} \
        "$1"/usr/lib/x86_64-linux-gnu/{gconv,audit} "$1"/usr/lib/valgrind \
        "$1"/usr/include "$1"/var/cache
    [[ -e $1/usr/bin/dpkg ]] || rm -rf "$1"/usr/lib/x86_64-linux-gnu/perl-base
}

# skeleton FOLDER: creates Debian's merged /usr and /run, so that packages unpack into the right places. Otherwise a
# package that has a folder /var/run would replace dom0's link by it, and programs would look for sockets there.
skeleton() {
    local name
    mkdir -p "$1"/usr/{bin,sbin,lib,lib64} "$1"/run/lock "$1/var"
    for name in bin sbin lib lib64; do ln -s "usr/$name" "$1/$name"; done
    # Relative, because a path below the links is also used on the host.
    ln -s ../run "$1/var/run"
    ln -s ../run/lock "$1/var/lock"
}

# link_applets FOLDER: links each of busybox's programs under its name, unless another program has the name. Links
# in sbin lead to bin, so that a package's program in either folder takes precedence.
link_applets() {
    local applet name
    "$1/usr/bin/busybox" --list-full | while read -r applet; do
        name=${applet##*/}
        [[ -e $1/usr/bin/$name ]] || ln -s busybox "$1/usr/bin/$name"
        [[ $applet != *sbin/* || -e $1/usr/sbin/$name ]] || ln -s "../bin/$name" "$1/usr/sbin/"
    done
}

# make_packages LAYER RELEASE PACKAGE...: creates an archive of packages and their dependencies.
make_packages() {
    local layer=$1 release=$2 folder=$1.d names
    shift 2
    private_apt "$release"
    say "fetching for dom0: $*"
    names=$(closure "$release" "$@") || die 2 "no such package in Debian $release: $*; see apt's message above"
    skeleton "$folder"
    # shellcheck disable=SC2086 # package names hold no spaces
    unpack "$release" "$folder" $names
    trim "$folder"
    choose_alternatives "$folder"
    # shellcheck disable=SC2086 # package names hold no spaces
    [[ ! -e $folder/usr/bin/dpkg ]] || register "$release" "$folder" $names
    pack "$folder" >"$layer"
    rm -rf "$folder"
}

# register RELEASE FOLDER PACKAGE...: writes a database in which dpkg and apt find these packages as installed, which have
# only been unpacked.
register() {
    local archives=$CACHE/apt/$1/debs folder=$2 data=$2/var/lib/dpkg name file
    shift 2
    mkdir -p "$folder"/var/{lib/apt/lists/partial,cache/apt/archives/partial,log/apt} "$data"/{info,updates,triggers,alternatives}
    for name; do
        file=$(newest "$archives" "$name")
        dpkg-deb --field "$file" | sed '1a Status: install ok installed'
        echo
        [[ $(dpkg-deb --field "$file" Multi-Arch) != same ]] || name+=:amd64
        # dpkg warns about each package without such a list.
        dpkg-deb --fsys-tarfile "$file" | tar -t | sed -E 's|^\./|/|; s|(.)/$|\1|; s|^/$|/.|' >"$data/info/$name.list"
    done >"$data/status"
    # debconf has no questions to ask here, and needs the rest of Perl.
    rm -f "$folder/etc/apt/apt.conf.d/70debconf"
}

# choose_alternatives FOLDER: creates the links that installation scripts would create with update-alternatives(1),
# for the packages that tests use. For iptables that is the legacy one, because dom0 has its kernel modules.
choose_alternatives() {
    [[ ! -e $1/usr/sbin/iptables-legacy ]] || ln -s iptables-legacy "$1/usr/sbin/iptables"
}

# make_xenstore LAYER RELEASE XEN: creates an archive of xl, xenstored, the PV shim and what their scripts need.
make_xenstore() {
    local layer=$1 release=$2 xen=$3 folder=$1.d names
    private_apt "$release"
    say "fetching xl and xenstored of Xen $xen"
    names=$(closure "$release" "xen-utils-$xen" xenstore-utils bash iproute2 |
        grep -vE "$NEEDLESS")
    skeleton "$folder"
    # shellcheck disable=SC2086 # package names hold no spaces
    unpack "$release" "$folder" $names
    trim "$folder"
    # Debian's wrappers choose the programs of the running Xen. Here there is only one version, so link to its programs.
    mkdir -p "$folder/usr/local/sbin"
    find "$folder/usr/lib/xen-$xen/bin" -type f -printf "../../lib/xen-$xen/bin/%f\0" |
        xargs -0 ln -s -t "$folder/usr/local/sbin"
    mkdir -p "$folder"/var/{log/xen,lib/xen,lib/xenstored}
    # Of the kernels, only the PV shim is used.
    find "$folder/usr/lib/xen-$xen/boot" -type f ! -name xen-shim -delete
    pack "$folder" >"$layer"
    rm -rf "$folder"
}

# make_base LAYER RELEASE KERNEL: creates an archive of busybox, the kernel's modules and the Redis clients.
make_base() {
    local layer=$1 release=$2 kernel=$3 folder=$1.d names
    private_apt "$release"
    say "fetching dom0's base system from Debian $release"
    names=$(closure "$release" busybox-static redis-tools | grep -vE "$NEEDLESS")
    skeleton "$folder"
    # shellcheck disable=SC2086 # package names hold no spaces
    unpack "$release" "$folder" $names
    trim "$folder"
    cp -a "$kernel/root/lib/." "$folder/usr/lib/"
    cp -a "$kernel/root/etc/." "$folder/etc/"
    link_applets "$folder"
    mkdir -p "$folder"/{dev,proc,sys,tmp,root,etc,var/log,usr/local/bin}
    pack "$folder" >"$layer"
    rm -rf "$folder"
}
