# shellcheck shell=bash
# One run: QEMU with its channels, and what it leaves behind.

# new_run: makes the folder of this run, $RUN, and keeps those of the last 20.
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

# drop_old_runs: a run that goes on, in this or another process, has its channels still.
drop_old_runs() {
    local old
    find "$CACHE/runs" -mindepth 1 -maxdepth 1 -type d | sort -r | tail -n +21 |
        while read -r old; do
            # A run that was killed left them too: nobody needs it after a day.
            if [[ ! -e $old/out || $(find "$old" -maxdepth 0 -mmin +1440) ]]; then rm -rf "$old"; fi
        done
}

# end_run: however this script ends, nothing of the run stays but its logs.
end_run() {
    local status=$?
    trap '' HUP INT TERM
    if [[ $QEMU ]]; then
        kill -TERM "$QEMU" 2>/dev/null && wait "$QEMU"
    fi
    rm -rf "$RUN"/{top,initramfs,out,err,status}
    exit "$status"
}

# start_qemu: starts QEMU in the background with dom0's $RUN/initramfs. The process $QEMU ends
# with it, with 124 if the time was up.
start_qemu() {
    local xen_options kernel_options machine=(-machine q35 -smp "$CPUS")
    # A crash resets the machine, which ends QEMU (-no-reboot).
    # eager-fpu: by default Xen restores a domain's SSE registers when it first uses them, on an
    # exception that QEMU does not seem to raise for XSAVE: programs of dom0 then lost theirs.
    xen_options="com1=115200,8n1 console=com1 loglvl=all guest_loglvl=all spec-ctrl=eager-fpu"
    # QEMU's memory is zero already. Scrubbing it would touch all of it, on the host too, and would
    # go on beside the command.
    xen_options+=" bootscrub=0"
    # shellcheck disable=SC2153 # XEN_OPTIONS is set in options.sh
    xen_options+=" dom0_mem=${DOM0_MEMORY}M,max:${DOM0_MEMORY}M $XEN_OPTIONS"
    # A crash must not wait for a person. Then what shortens the boot: a small bounce buffer, no
    # self-tests of the cryptography, and no sealing of the kernel's own pages.
    kernel_options="console=hvc0 quiet loglevel=4 panic=-1 oops=panic"
    kernel_options+=" swiotlb=2048 cryptomgr.notests rodata=off"
    ((!ICOUNT)) || machine+=(-icount "shift=0,sleep=off")
    case $ACCEL in
    kvm) machine+=(-accel kvm -cpu host) ;;
    # All processors take turns in one thread of QEMU. With a thread for each, QEMU (7.2) mixes up the states of a
    # hypervisor and its guest: under load a guest dies of a triple fault, and the state that Xen then logs holds
    # the registers of Xen itself (cs e008, an address of Xen's own code). It took seconds to minutes of requests
    # to a redis guest; in one thread the same load has run without a fault. What is left: a Linux guest that moves
    # between processors loses its GS base and panics at its next interrupt (in error_entry, at a %gs: access), so
    # --linux means one processor. Our own guests never change GS.
    # What is left out of the processor, the emulation has wrong: smap and smep break a PV dom0, and with rdtscp
    # Xen cannot find the length of an instruction that a PVH guest traps on.
    tcg) machine+=(-accel "tcg,thread=single" -cpu "max,-smap,-smep,-rdtscp") ;;
    esac
    # When this script ends, however that happens, the kernel ends `timeout`, and with it QEMU.
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
    # Held open here, so that the readers wait for QEMU and not for its opening them.
    exec 5<>"$RUN/out" 6<>"$RUN/err"
    # Should our own reader go away, the command still runs to its end.
    { cat || cat >/dev/null; } <"$RUN/out" 5>&- 6>&- &
    out=$!
    { cat >&2 || cat >/dev/null; } <"$RUN/err" 2>&2 5>&- 6>&- &
    err=$!
    start_qemu
    wait "$QEMU" || ended=$?
    QEMU=''
    exec 5>&- 6>&-
    wait "$out" "$err" || true

    # The status first: a command that ended in time may still have lost the race to power off.
    if read -r status <"$RUN/status"; then exit "$status"; fi
    case $ended in
    124 | 137) die 124 "the command had not ended after $TIMEOUT s; Xen's console: $RUN/xen.log" ;;
    esac
    cat "$RUN/qemu.log" >&2
    tail -n 40 "$RUN/xen.log" >&2
    die 125 "Xen or QEMU ended before the command; Xen's console: $RUN/xen.log"
}
