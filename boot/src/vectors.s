// Exception vectors.
//
// Main code runs at EL1t. An interrupt lands on the core's interrupt stack (SP_EL1), saves what the procedure call
// standard lets a function change (of q8-q15 that is the upper half), and calls `kernel_interrupt`. Everything else is a fault: it moves to the core's
// fault stack, whatever state the others are in, saves all registers as a `FaultFrame` and calls `kernel_fault`,
// which does not return.

.set FRAME_SIZE, 36 * 8          // FaultFrame in lib.rs: x0-x30, sp, elr, spsr, esr, far

.macro FAULT kind
    .balign 128
    msr     tpidr_el0, x0
    mov     x0, #\kind
    b       fault
.endm

.macro INTERRUPT
    .balign 128
    b       interrupt
.endm

.section .text.vectors, "ax"
.balign 2048
.global vectors
vectors:
    // Current level with SP_EL0: main code.
    FAULT   0
    INTERRUPT
    FAULT   2
    FAULT   3
    // Current level with SP_ELx: interrupt and fault code.
    FAULT   4
    FAULT   5
    FAULT   6
    FAULT   7
    // A lower level: there is none.
    FAULT   8
    FAULT   9
    FAULT   10
    FAULT   11
    FAULT   12
    FAULT   13
    FAULT   14
    FAULT   15

.section .text.boot, "ax"
interrupt:
    sub     sp, sp, #(22 * 8 + 32 * 16)
    stp     x0, x1, [sp, #16 * 0]
    stp     x2, x3, [sp, #16 * 1]
    stp     x4, x5, [sp, #16 * 2]
    stp     x6, x7, [sp, #16 * 3]
    stp     x8, x9, [sp, #16 * 4]
    stp     x10, x11, [sp, #16 * 5]
    stp     x12, x13, [sp, #16 * 6]
    stp     x14, x15, [sp, #16 * 7]
    stp     x16, x17, [sp, #16 * 8]
    stp     x18, x29, [sp, #16 * 9]
    mrs     x0, elr_el1
    stp     x30, x0, [sp, #16 * 10]
    add     x9, sp, #16 * 11
    stp     q0, q1, [x9, #32 * 0]
    stp     q2, q3, [x9, #32 * 1]
    stp     q4, q5, [x9, #32 * 2]
    stp     q6, q7, [x9, #32 * 3]
    stp     q8, q9, [x9, #32 * 4]
    stp     q10, q11, [x9, #32 * 5]
    stp     q12, q13, [x9, #32 * 6]
    stp     q14, q15, [x9, #32 * 7]
    stp     q16, q17, [x9, #32 * 8]
    stp     q18, q19, [x9, #32 * 9]
    stp     q20, q21, [x9, #32 * 10]
    stp     q22, q23, [x9, #32 * 11]
    stp     q24, q25, [x9, #32 * 12]
    stp     q26, q27, [x9, #32 * 13]
    stp     q28, q29, [x9, #32 * 14]
    stp     q30, q31, [x9, #32 * 15]
    // A frame record that leads back into the interrupted code.
    mrs     x1, spsr_el1
    mrs     x2, fpcr
    mrs     x3, fpsr
    stp     x1, x2, [sp, #-32]!
    str     x3, [sp, #16]
    stp     x29, x0, [sp, #-16]!
    mov     x29, sp
    mov     x0, sp
    bl      kernel_interrupt
    add     sp, sp, #16
    ldr     x3, [sp, #16]
    ldp     x1, x2, [sp], #32
    msr     fpsr, x3
    msr     fpcr, x2
    msr     spsr_el1, x1
    add     x9, sp, #16 * 11
    ldp     q0, q1, [x9, #32 * 0]
    ldp     q2, q3, [x9, #32 * 1]
    ldp     q4, q5, [x9, #32 * 2]
    ldp     q6, q7, [x9, #32 * 3]
    ldp     q8, q9, [x9, #32 * 4]
    ldp     q10, q11, [x9, #32 * 5]
    ldp     q12, q13, [x9, #32 * 6]
    ldp     q14, q15, [x9, #32 * 7]
    ldp     q16, q17, [x9, #32 * 8]
    ldp     q18, q19, [x9, #32 * 9]
    ldp     q20, q21, [x9, #32 * 10]
    ldp     q22, q23, [x9, #32 * 11]
    ldp     q24, q25, [x9, #32 * 12]
    ldp     q26, q27, [x9, #32 * 13]
    ldp     q28, q29, [x9, #32 * 14]
    ldp     q30, q31, [x9, #32 * 15]
    ldp     x30, x0, [sp, #16 * 10]
    msr     elr_el1, x0
    ldp     x0, x1, [sp, #16 * 0]
    ldp     x2, x3, [sp, #16 * 1]
    ldp     x4, x5, [sp, #16 * 2]
    ldp     x6, x7, [sp, #16 * 3]
    ldp     x8, x9, [sp, #16 * 4]
    ldp     x10, x11, [sp, #16 * 5]
    ldp     x12, x13, [sp, #16 * 6]
    ldp     x14, x15, [sp, #16 * 7]
    ldp     x16, x17, [sp, #16 * 8]
    ldp     x18, x29, [sp, #16 * 9]
    add     sp, sp, #(22 * 8 + 32 * 16)
    eret

// x0 = kind, the fault's x0 in tpidr_el0. SP_EL1 goes to x1, the fault's x1 to tpidrro_el0; the kind waits in the
// frame while x0 brings the new stack pointer.
fault:
    msr     tpidrro_el0, x1
    mov     x1, sp
    msr     contextidr_el1, x0      // unused otherwise; 32 bits are enough for the kind
    mrs     x0, tpidr_el1
    sub     sp, x0, #FRAME_SIZE
    mrs     x0, contextidr_el1
    stp     x2, x3, [sp, #8 * 2]
    stp     x4, x5, [sp, #8 * 4]
    stp     x6, x7, [sp, #8 * 6]
    stp     x8, x9, [sp, #8 * 8]
    stp     x10, x11, [sp, #8 * 10]
    stp     x12, x13, [sp, #8 * 12]
    stp     x14, x15, [sp, #8 * 14]
    stp     x16, x17, [sp, #8 * 16]
    stp     x18, x19, [sp, #8 * 18]
    stp     x20, x21, [sp, #8 * 20]
    stp     x22, x23, [sp, #8 * 22]
    stp     x24, x25, [sp, #8 * 24]
    stp     x26, x27, [sp, #8 * 26]
    stp     x28, x29, [sp, #8 * 28]
    mrs     x3, sp_el0
    cmp     x0, #4
    csel    x3, x3, x1, lo          // from main code the stack pointer is SP_EL0
    stp     x30, x3, [sp, #8 * 30]
    mrs     x4, elr_el1
    mrs     x5, spsr_el1
    stp     x4, x5, [sp, #8 * 32]
    mrs     x4, esr_el1
    mrs     x5, far_el1
    stp     x4, x5, [sp, #8 * 34]
    mrs     x4, tpidr_el0
    mrs     x5, tpidrro_el0
    stp     x4, x5, [sp]
    mov     x1, sp
    b       kernel_fault
