# shellcheck shell=bash
# One run: QEMU with its channels, and what it leaves behind.

# quoted WORD...: the words as a line that any POSIX shell reads back exactly.
quoted() {
    local word
    for word in "$@"; do printf "'%s' " "${word//\'/\'\\\'\'}"; done
}

# new_run: makes the folder of this run and keeps the last 20.
new_run() {
    mkdir -p "$CACHE/runs"
    RUN=$(mktemp -d "$CACHE/runs/$(date +%Y%m%d-%H%M%S)-XXXXXX")
    : >"$RUN/xen.log"
    # Not those that still run: their folders hold more than a log.
    local old
    find "$CACHE/runs" -mindepth 1 -maxdepth 1 -type d | sort -r | tail -n +21 |
        while read -r old; do [[ -e $old/out ]] || rm -rf "$old"; done
}

# qemu: starts QEMU with dom0's initramfs $RUN/initramfs in the background, its process in $QEMU.
start_qemu() {
    local xen_options kernel_options="console=hvc0 quiet loglevel=4" machine=(-smp "$CPUS")
    xen_options="com1=115200,8n1 console=com1 noreboot=1 loglvl=all guest_loglvl=all"
    xen_options+=" dom0_mem=${DOM0_MEMORY}M,max:${DOM0_MEMORY}M"
    ((!ICOUNT)) || machine=(-smp 1 -icount "shift=0,sleep=off")
    # pdeathsig: QEMU goes with this script, however that ends.
    setpriv --pdeathsig KILL qemu-system-x86_64 \
        -machine q35,accel=tcg -cpu max,-smap,-smep,-rdtscp -no-reboot -nodefaults -nographic \
        "${machine[@]}" -m "$MEMORY" -monitor none \
        -chardev "file,id=xen,path=$RUN/xen.log" -serial chardev:xen \
        -device virtio-serial-pci,max_ports=8 \
        -chardev "file,id=out,path=$RUN/out" -device virtserialport,chardev=out,name=stdout \
        -chardev "file,id=err,path=$RUN/err" -device virtserialport,chardev=err,name=stderr \
        -chardev "file,id=status,path=$RUN/status" -device virtserialport,chardev=status,name=status \
        -kernel "$XEN_ELF" -append "$xen_options" \
        -initrd "$KERNEL/vmlinuz $kernel_options,$RUN/initramfs" \
        </dev/null >"$RUN/qemu.log" 2>&1 &
    QEMU=$!
}
