# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# One run: starts QEMU, passes the command's output through, and cleans up.

# new_run: creates the folder of this run, $RUN, and removes all but the last 20.
new_run() {
    mkdir -p "$CACHE/runs"
    RUN=$(mktemp -d "$CACHE/runs/$(date +%Y%m%d-%H%M%S)-XXXXXX")
    mkfifo "$RUN/out" "$RUN/err"
    : >"$RUN/status"
    : >"$RUN/xen.log"
    QEMU=''
    trap end_run EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    drop_old_runs
}

# drop_old_runs: removes the folders of old runs, but not those of runs that are still going on, which have pipes.
drop_old_runs() {
    local old
    find "$CACHE/runs" -mindepth 1 -maxdepth 1 -type d | sort -r | tail -n +21 |
        while read -r old; do
            # A killed run leaves its pipes behind, so remove it after a day.
            if [[ ! -e $old/out || $(find "$old" -maxdepth 0 -mmin +1440) ]]; then rm -rf "$old"; fi
        done
}

# end_run: stops QEMU and removes all files of the run except its logs, however this script ends.
end_run() {
    local status=$?
    trap '' HUP INT TERM
    if [[ $QEMU ]]; then
        kill -TERM "$QEMU" 2>/dev/null && wait "$QEMU"
    fi
    rm -rf "$RUN"/{top,initramfs,out,err,status}
    exit "$status"
}

# start_qemu: starts QEMU in the background with dom0's $RUN/initramfs. The process $QEMU exits when QEMU does,
# with status 124 after the timeout.
start_qemu() {
    local xen_options kernel_options machine=(-machine q35 -smp "$CPUS")
    # A crash resets the machine, upon which QEMU exits (-no-reboot).
    # eager-fpu: by default Xen restores a domain's SSE registers when the domain first uses them, upon an exception.
    # QEMU does not seem to raise that exception for XSAVE: without this option programs in dom0 lost their registers.
    xen_options="com1=115200,8n1 console=com1 loglvl=all guest_loglvl=all spec-ctrl=eager-fpu"
    # QEMU's memory is zero already. Scrubbing would touch all of it, on the host too, and would still go on while
    # the command runs.
    xen_options+=" bootscrub=0"
    # shellcheck disable=SC2153 # XEN_OPTIONS is set in options.sh
    xen_options+=" dom0_mem=${DOM0_MEMORY}M,max:${DOM0_MEMORY}M $XEN_OPTIONS"
    # Don't wait for a user after a crash. The second line shortens the boot: a small bounce buffer, no self-tests of
    # the cryptography, and no sealing of the kernel's own pages.
    kernel_options="console=hvc0 quiet loglevel=4 panic=-1 oops=panic"
    kernel_options+=" swiotlb=2048 cryptomgr.notests rodata=off"
    ((!ICOUNT)) || machine+=(-icount "shift=0,sleep=off")
    case $ACCEL in
    kvm) machine+=(-accel kvm -cpu host) ;;
    # All processors share one thread of QEMU. With a thread each, QEMU 7.2 confuses the states of a hypervisor and
    # its guest: under load a guest triple-faults, and Xen then logs registers of Xen itself as the guest's (cs e008,
    # an address in Xen's code). That took seconds to minutes of requests to a redis guest; in one thread the same
    # load runs without a fault. One fault remains: a Linux guest that moves between processors loses its GS base and
    # panics at its next interrupt (in error_entry, at a %gs: access), so --linux implies one processor. The guests of
    # this project never change GS.
    # The emulation of three features is wrong, so they are disabled: smap and smep break a PV dom0, and with rdtscp
    # Xen cannot find the length of an instruction on which a PVH guest traps. As a Zen, Xen would use mwait, which
    # is not emulated.
    tcg)
        local cpu=max,-smap,-smep,-rdtscp
        ((!ZEN)) || cpu+=,-monitor,family=23,model=1,stepping=2
        machine+=(-accel "tcg,thread=single" -cpu "$cpu")
        ;;
    esac
    # When this script exits or is killed, the kernel kills `timeout`, and when that is dead, QEMU.
    setpriv --pdeathsig KILL timeout --kill-after=5 "$TIMEOUT" setpriv --pdeathsig KILL \
        qemu-system-x86_64 "${machine[@]}" -m "$MEMORY" \
        -no-reboot -nodefaults -no-user-config -nographic -monitor none \
        -chardev "file,id=xen,path=$RUN/xen.log" -serial chardev:xen \
        -device virtio-serial-pci,max_ports=4 \
        -chardev "file,id=out,path=$RUN/out" -device virtserialport,chardev=out,name=stdout \
        -chardev "file,id=err,path=$RUN/err" -device virtserialport,chardev=err,name=stderr \
        -chardev "file,id=end,path=$RUN/status" -device virtserialport,chardev=end,name=status \
        -kernel "$XEN_ELF" -append "$xen_options" \
        -initrd "$KERNEL/vmlinux $kernel_options,$RUN/initramfs" \
        </dev/null >"$RUN/qemu.log" 2>&1 5>&- 6>&- &
    QEMU=$!
}

# run: boots, passes the command's output through, and exits with its status.
run() {
    local out err ended=0 status
    # Open the pipes for writing, too, so that the readers below need not wait until QEMU opens them.
    exec 5<>"$RUN/out" 6<>"$RUN/err"
    # If the reader of this script's output exits, discard the rest, so that the command still runs to its end.
    { cat || cat >/dev/null; } <"$RUN/out" 5>&- 6>&- &
    out=$!
    { cat >&2 || cat >/dev/null; } <"$RUN/err" 2>&2 5>&- 6>&- &
    err=$!
    start_qemu
    wait "$QEMU" || ended=$?
    QEMU=''
    exec 5>&- 6>&-
    wait "$out" "$err" || true

    # Read the status first: the command may have exited in time although dom0 had no time left to power off.
    if read -r status <"$RUN/status"; then exit "$status"; fi
    case $ended in
    124 | 137) die 124 "the command did not exit within $TIMEOUT s; Xen's console: $RUN/xen.log" ;;
    esac
    cat "$RUN/qemu.log" >&2
    tail -n 40 "$RUN/xen.log" >&2
    die 125 "Xen or QEMU exited before the command; Xen's console: $RUN/xen.log"
}
