/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The smallest guest that krata boots. It waits forever. It is a PV kernel, because krata builds PV
 * guests on x86, with the notes that krata's loader requires (public/elfnote.h). */

        .set VIRT_BASE, 0xffffffff80000000
        .set HYPERVISOR_sched_op, 29    /* public/xen.h */
        .set SCHEDOP_poll, 3            /* public/sched.h */

        .text
        .globl _start
_start:
        mov     $SCHEDOP_poll, %edi
        lea     poll(%rip), %rsi
        call    hypercall_page + HYPERVISOR_sched_op * 32
        jmp     _start

        .balign 4096
hypercall_page:                         /* filled by Xen */
        .skip   4096

        .data
poll:                                   /* struct sched_poll */
        .quad   0                       /* no port */
        .long   0, 0
        .quad   0                       /* no timeout */

        .macro  note type, value
        .section .note.Xen, "a", @note
        .balign 4
        .long   4, 8, \type
        .asciz  "Xen"
        .quad   \value
        .endm

        note    1, _start               /* XEN_ELFNOTE_ENTRY */
        note    2, hypercall_page       /* XEN_ELFNOTE_HYPERCALL_PAGE */
        note    3, VIRT_BASE            /* XEN_ELFNOTE_VIRT_BASE */
        note    4, 0                    /* XEN_ELFNOTE_PADDR_OFFSET */
        note    15, 0x8000000000        /* XEN_ELFNOTE_INIT_P2M */
        note    16, 1                   /* XEN_ELFNOTE_MOD_START_PFN */

        .section .note.GNU-stack, "", @progbits
