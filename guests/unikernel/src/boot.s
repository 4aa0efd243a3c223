# SPDX-License-Identifier: MIT OR Apache-2.0
# The PVH entry: 32-bit protected mode, paging off, flat segments, %ebx = address of start_info.
# Switches to 64-bit mode with the runtime's stack and page tables, which map all memory up to
# start_info one to one; paging.rs builds the final tables.

    .section .note.Xen, "a", @note
    .align 4
    .long 4, 4, 18                      # name size, description size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

    .section .note.chaos, "a", @note    # says that the guest reads the device page
    .align 4
    .long 2f - 1f, 4, {note_version}    # name size, description size, type
1:  .asciz "chaos"                      # boot.rs checks the name
2:  .align 4
    .word {page_major}, {page_minor}

    .section .uncleared.stack, "aw", @nobits
    .align 4096
    .skip {stack_size}
stack_top:

    .section .uncleared.page_tables, "aw", @nobits
    .align 4096
    .global page_map_level_4, page_directory_pointers, page_directory, first_page_table
page_map_level_4:
    .skip 4096
page_directory_pointers:
    .skip 4096
page_directory:
    .skip 4096
first_page_table:                       # paging.rs writes all of it
    .skip 4096

    .section .data.gdt, "aw", @progbits
    .align 8
    .global gdt
gdt:
    .quad 0
    .quad 0x00af9b000000ffff            # 0x08: 64-bit code
    .quad 0x00cf93000000ffff            # 0x10: data
    .quad 0, 0                          # 0x18: task state, filled in by exceptions.rs
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .section .text.entry, "ax", @progbits
    .code32
    .global pvh_entry
pvh_entry:
    cld
    movl $stack_top, %esp

    movl $page_map_level_4, %edi        # clear the three upper tables
    movl $3 * 1024, %ecx
    xorl %eax, %eax
    rep stosl

    # Present, writable, accessed, dirty: the CPU need not set the last two later.
    movl $page_directory_pointers + 0x23, page_map_level_4
    movl $page_directory + 0x23, page_directory_pointers
    movl %ebx, %ecx
    shrl $21, %ecx
    incl %ecx
    cmpl $512, %ecx
    jbe 1f
    # dom0 puts start_info at the top of memory. If that is above 1 GiB, map it by 1 GiB pages.
    movl $0x400000e3, page_directory_pointers + 8
    movl $0x800000e3, page_directory_pointers + 16
    movl $0xc00000e3, page_directory_pointers + 24
    movl $512, %ecx
1:  movl $page_directory, %edi
    movl $0xe3, %eax
2:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    decl %ecx
    jnz 2b

    movl $0x620, %eax                   # CR4: PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $page_map_level_4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              # EFER: LME, NXE
    movl $0x900, %eax
    xorl %edx, %edx
    wrmsr
    movl $0x80010033, %eax              # CR0: PG, WP, NE, ET, MP, PE
    movl %eax, %cr0
    lgdt gdt_pointer
    pushl $0x08
    pushl $3f
    lret

    .code64
3:  movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $stack_top, %esp
    movl %ebx, %edi
    xorl %ebp, %ebp
    call {start}
    ud2
