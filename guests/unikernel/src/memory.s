# SPDX-License-Identifier: MIT OR Apache-2.0
# The memory functions that compiled code calls. Each round copies 64 bytes with SSE2, which is best
# for the sizes that guests copy (frames, values, socket buffers), in instructions and in cycles.

    .section .text.memory, "ax", @progbits
    .code64
    .global guest_memcpy, guest_memmove, guest_memset, guest_memcmp

# guest_memmove(rdi = to, rsi = from, rdx = bytes) -> to
guest_memmove:
    movq %rdi, %rcx
    subq %rsi, %rcx
    cmpq %rdx, %rcx
    jae guest_memcpy                    # from is not below to, or too far below to overlap
    cmpq $64, %rdx
    jbe guest_memcpy                    # which loads everything before it stores
    movq %rdi, %rax
    leaq (%rsi,%rdx), %r9
    leaq (%rdi,%rdx), %r10
    leaq 64(%rdi), %r8
    movups (%rsi), %xmm4                # the first 64 bytes: loaded first, stored last
    movups 16(%rsi), %xmm5
    movups 32(%rsi), %xmm6
    movups 48(%rsi), %xmm7
1:  movups -16(%r9), %xmm0
    movups -32(%r9), %xmm1
    movups -48(%r9), %xmm2
    movups -64(%r9), %xmm3
    subq $64, %r9
    movups %xmm0, -16(%r10)
    movups %xmm1, -32(%r10)
    movups %xmm2, -48(%r10)
    movups %xmm3, -64(%r10)
    subq $64, %r10
    cmpq %r8, %r10
    ja 1b
    movups %xmm4, (%rdi)
    movups %xmm5, 16(%rdi)
    movups %xmm6, 32(%rdi)
    movups %xmm7, 48(%rdi)
    ret

# guest_memcpy(rdi = to, rsi = from, rdx = bytes) -> to; ranges may overlap if to is below from
guest_memcpy:
    movq %rdi, %rax
    cmpq $16, %rdx
    jb 3f
    cmpq $32, %rdx
    jbe 2f
    cmpq $64, %rdx
    jbe 6f
    leaq -64(%rdi,%rdx), %r8
    movups -16(%rsi,%rdx), %xmm4        # the last 64 bytes: loaded first, stored last
    movups -32(%rsi,%rdx), %xmm5
    movups -48(%rsi,%rdx), %xmm6
    movups -64(%rsi,%rdx), %xmm7
1:  movups (%rsi), %xmm0
    movups 16(%rsi), %xmm1
    movups 32(%rsi), %xmm2
    movups 48(%rsi), %xmm3
    addq $64, %rsi
    movups %xmm0, (%rdi)
    movups %xmm1, 16(%rdi)
    movups %xmm2, 32(%rdi)
    movups %xmm3, 48(%rdi)
    addq $64, %rdi
    cmpq %r8, %rdi
    jb 1b
    movups %xmm7, (%r8)
    movups %xmm6, 16(%r8)
    movups %xmm5, 32(%r8)
    movups %xmm4, 48(%r8)
    ret
2:  movups (%rsi), %xmm0                # 16 to 32
    movups -16(%rsi,%rdx), %xmm1
    movups %xmm0, (%rdi)
    movups %xmm1, -16(%rdi,%rdx)
    ret
6:  movups (%rsi), %xmm0                # 33 to 64
    movups 16(%rsi), %xmm1
    movups -32(%rsi,%rdx), %xmm2
    movups -16(%rsi,%rdx), %xmm3
    movups %xmm0, (%rdi)
    movups %xmm1, 16(%rdi)
    movups %xmm2, -32(%rdi,%rdx)
    movups %xmm3, -16(%rdi,%rdx)
    ret
3:  cmpq $8, %rdx
    jb 4f
    movq (%rsi), %rcx                   # 8 to 15
    movq -8(%rsi,%rdx), %r8
    movq %rcx, (%rdi)
    movq %r8, -8(%rdi,%rdx)
    ret
4:  cmpq $4, %rdx
    jb 5f
    movl (%rsi), %ecx                   # 4 to 7
    movl -4(%rsi,%rdx), %r8d
    movl %ecx, (%rdi)
    movl %r8d, -4(%rdi,%rdx)
    ret
5:  testq %rdx, %rdx
    jz 7f
    movq %rdx, %r10                     # 1 to 3: the first, the middle and the last
    shrq $1, %r10
    movzbl (%rsi), %ecx
    movzbl (%rsi,%r10), %r8d
    movzbl -1(%rsi,%rdx), %r9d
    movb %cl, (%rdi)
    movb %r8b, (%rdi,%r10)
    movb %r9b, -1(%rdi,%rdx)
7:  ret

# guest_memset(rdi = to, sil = byte, rdx = bytes) -> to
guest_memset:
    movq %rdi, %rax
    movzbl %sil, %esi
    movabsq $0x0101010101010101, %rcx
    imulq %rcx, %rsi
    cmpq $16, %rdx
    jb 2f
    movq %rsi, %xmm0
    punpcklqdq %xmm0, %xmm0
    leaq (%rdi,%rdx), %r8
    movups %xmm0, -16(%r8)              # the last 16 bytes first, then the others upwards
    subq $64, %r8
    cmpq $80, %rdx
    jb 6f
1:  movups %xmm0, (%rdi)
    movups %xmm0, 16(%rdi)
    movups %xmm0, 32(%rdi)
    movups %xmm0, 48(%rdi)
    addq $64, %rdi
    cmpq %r8, %rdi
    jbe 1b
6:  addq $48, %r8                       # where the last 16 bytes begin
5:  cmpq %r8, %rdi
    jae 7f
    movups %xmm0, (%rdi)
    addq $16, %rdi
    jmp 5b
2:  cmpq $8, %rdx
    jb 3f
    movq %rsi, (%rdi)                   # 8 to 15
    movq %rsi, -8(%rdi,%rdx)
    ret
3:  cmpq $4, %rdx
    jb 4f
    movl %esi, (%rdi)                   # 4 to 7
    movl %esi, -4(%rdi,%rdx)
    ret
4:  testq %rdx, %rdx
    jz 7f
    movq %rdx, %r10                     # 1 to 3
    shrq $1, %r10
    movb %sil, (%rdi)
    movb %sil, (%rdi,%r10)
    movb %sil, -1(%rdi,%rdx)
7:  ret

# guest_memcmp(rdi = left, rsi = right, rdx = bytes) -> negative, zero or positive
guest_memcmp:
    xorl %eax, %eax
    cmpq $8, %rdx
    jb 3f
1:  movq (%rdi), %rcx
    movq (%rsi), %r8
    cmpq %r8, %rcx
    jne 4f
    addq $8, %rdi
    addq $8, %rsi
    subq $8, %rdx
    cmpq $8, %rdx
    jae 1b
3:  testq %rdx, %rdx
    jz 5f
2:  movzbl (%rdi), %eax
    movzbl (%rsi), %ecx
    subl %ecx, %eax
    jne 5f
    incq %rdi
    incq %rsi
    decq %rdx
    jnz 2b
5:  ret
4:  bswapq %rcx                         # the first differing byte becomes the highest
    bswapq %r8
    cmpq %r8, %rcx
    sbbl %eax, %eax
    orl $1, %eax
    ret
