// From the reset vector to the first Rust line.
//
// Entered by the firmware with x0 = device tree or 0, at EL3, EL2 or EL1, MMU and data cache off, at any address. Leaves at EL1 with
// MMU and caches on, main code on SP_EL0 (EL1t) and exceptions on SP_EL1, so that an overflowing stack still finds
// a good one for its report.
//
// Sources: Arm ARM DDI 0487 (registers, translation table format D8), Linux Documentation/arch/arm64/booting.rst
// (image header), Cortex-A53 TRM DDI 0500 4.3.65 / Cortex-A72 TRM 100095 4.3.67 (CPUECTLR_EL1.SMPEN).

.set DESC_TABLE,      0b11
.set DESC_PAGE,       0b11
.set DESC_BLOCK,      0b01
.set ATTR_DEVICE,     (0 << 2)                  // MAIR index 0
.set ATTR_NORMAL,     (1 << 2)                  // MAIR index 1
.set AF,              (1 << 10)
.set SH_INNER,        (3 << 8)
.set AP_READ_ONLY,    (1 << 7)
.set PXN,             (1 << 53)
.set UXN,             (1 << 54)
.set NORMAL_RW,       (ATTR_NORMAL | AF | SH_INNER | PXN | UXN)
.set NORMAL_RO,       (NORMAL_RW | AP_READ_ONLY)
.set NORMAL_RX,       (ATTR_NORMAL | AF | SH_INNER | AP_READ_ONLY | UXN)
.set DEVICE_RW,       (ATTR_DEVICE | AF | PXN | UXN)

// MAIR_EL1: 0 = Device-nGnRE, 1 = Normal write-back read- and write-allocate.
.set MAIR,            0xff04
// TCR_EL1: T0SZ = 25 (39-bit addresses, tables start at level 1), walks write-back inner shareable, 4 KiB granule,
// EPD1 (no upper half), IPS = 2 (40-bit physical addresses).
.set TCR,             (25 | (1 << 8) | (1 << 10) | (3 << 12) | (1 << 23) | (2 << 32))
// SCTLR_EL1: RES1 bits (29, 28, 23, 22, 20, 11), and LSMAOE/nTLSMD; M, C, SA, I, and WXN: what is writable never runs.
.set SCTLR_RES1,      0x30d00800
// SCTLR_EL2: RES1 bits 29, 28, 23, 22, 18, 16, 11, 5, 4 (Linux asm/sysreg.h, SCTLR_EL2_RES1).
.set SCTLR_EL2_RES1,  0x30c50830
.set SCTLR_ON,        (SCTLR_RES1 | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 12) | (1 << 19))

.section .text.header, "ax"
.global _start
_start:
    b       entry_core0
    .long   0
    .quad   0x80000                 // text offset
    .quad   __image_size
    .quad   0b0010                  // little endian, 4 KiB pages, placed at a 2 MiB boundary plus text offset
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

.section .text.boot, "ax"
entry_core0:
    mov     x20, x0
    mrs     x1, mpidr_el1
    and     x1, x1, #3
    cbnz    x1, park                // a firmware that starts every core here: only core 0 goes on
    adr     x1, _start              // where it was loaded
    ldr     x2, =_start             // where it belongs
    cmp     x1, x2
    b.ne    move_image
    bl      to_el1
    isb
    mrs     x19, cntvct_el0         // when the kernel was entered; not earlier, because its offset may have been any
    bl      make_page_tables
    mov     x0, #0
    bl      enable_mmu
    // bss: 16 bytes at a time, both ends are page aligned.
    adrp    x0, __bss_start
    adrp    x1, __bss_end
1:  cmp     x0, x1
    b.hs    2f
    stp     xzr, xzr, [x0], #16
    b       1b
2:  mov     x0, #0
    bl      set_up_stacks
    mov     x0, x20
    mov     x1, x19
    mov     x29, #0
    mov     x30, #0
    b       kernel_main

// Where cores 1-3 arrive from the spin table.
.global entry_secondary
entry_secondary:
    bl      to_el1
    bl      enable_mmu
    mrs     x0, mpidr_el1
    and     x0, x0, #3
    bl      set_up_stacks
    mrs     x0, mpidr_el1
    and     x0, x0, #3
    mov     x29, #0
    mov     x30, #0
    b       kernel_secondary

park:
    wfi
    b       park

// Moves the image from x1 to x2, where it was linked to run, and enters it there as the firmware would have: with another
// `kernel_address` in config.txt, or `kernel_old`, it was loaded elsewhere. The two places may overlap, so what moves it runs
// behind both. With the MMU off, stores go past the data caches. Keeps x0.
move_image:
    ldr     x3, =__data_end
    sub     x3, x3, x2              // length, whole pages
    cmp     x1, x2
    csel    x4, x1, x2, hi
    add     x4, x4, x3              // behind both
    adr     x5, mover
    adr     x6, mover_end
    mov     x7, x4
1:  ldr     w8, [x5], #4
    str     w8, [x7], #4
    cmp     x5, x6
    b.lo    1b
    dsb     sy
    ic      iallu
    dsb     sy
    isb
    br      x4
// Position-independent: this is what is copied.
mover:
    mov     x9, x2
    cmp     x1, x2
    b.lo    2f
    add     x3, x1, x3              // to lower addresses: from the start
1:  ldp     x5, x6, [x1], #16
    stp     x5, x6, [x2], #16
    cmp     x1, x3
    b.lo    1b
    b       4f
2:  add     x2, x2, x3              // to higher addresses: from the end
    add     x3, x1, x3
3:  ldp     x5, x6, [x3, #-16]!
    stp     x5, x6, [x2, #-16]!
    cmp     x3, x1
    b.hi    3b
4:  dsb     sy
    ic      iallu
    dsb     sy
    isb
    br      x9
mover_end:

// Returns at EL1, whatever the level it was called at. Uses x9-x12.
to_el1:
    mrs     x9, CurrentEL
    lsr     x9, x9, #2
    cmp     x9, #2
    b.eq    from_el2
    b.lo    at_el1
    // EL3: there was no stub of the firmware's. What follows is what it does (raspberrypi/tools, armstubs/armstub8.S), then
    // on through EL2.
    mrs     x9, S3_1_C15_C2_1       // CPUECTLR_EL1
    orr     x9, x9, #(1 << 6)       // SMPEN: take part in coherency before caches are on
    msr     S3_1_C15_C2_1, x9
    mrs     x9, S3_1_C11_C0_2       // L2CTLR_EL1
    mov     x10, #0x22              // three cycles for the L2 cache's RAM
    orr     x9, x9, x10
    msr     S3_1_C11_C0_2, x9
    isb
    mrs     x9, midr_el1
    ubfx    x9, x9, #4, #12
    mov     x10, #0xd03
    cmp     x9, x10
    mov     x9, #0xff800000         // the local block of BCM2711
    mov     x10, #0x40000000        // and of BCM2837
    csel    x9, x10, x9, eq
    str     wzr, [x9]               // timers count the crystal, by one
    mov     w10, #0x80000000
    str     w10, [x9, #8]           // at its full rate
    b.eq    3f
    // BCM2711: every interrupt is to be the non-secure side's. The register of the first 32, and the CPU interface, are
    // each core's own; core 0 does what they share, because it may have changed again by the time that others come.
    add     x9, x9, #0x41000        // GICD
    add     x11, x9, #0x80          // GICD_IGROUPR: group 1
    mov     w10, #-1
    str     w10, [x11]
    mrs     x12, mpidr_el1
    ands    x12, x12, #3
    b.ne    2f
    mov     x12, #7
1:  str     w10, [x11, #4]!
    subs    x12, x12, #1
    b.ne    1b
    mov     w10, #3
    str     w10, [x9]               // GICD_CTLR: both groups
2:
    add     x9, x9, #0x1000         // GICC
    mov     w10, #0xff
    str     w10, [x9, #4]           // GICC_PMR: else the non-secure side could set no priority
    mov     w10, #0x1e7
    str     w10, [x9]               // GICC_CTLR: both groups, no bypass
3:
    mov     x9, #0x5b1              // SCR_EL3: RW, HCE, SMD, RES1, NS
    msr     scr_el3, x9
    msr     cptr_el3, xzr
    ldr     x9, =SCTLR_EL2_RES1
    msr     sctlr_el2, x9
    mrs     x9, cntfrq_el0
    cbnz    x9, 1f
    mrs     x9, midr_el1            // the crystals of BCM2837 (Cortex-A53) and BCM2711
    ubfx    x9, x9, #4, #12
    cmp     x9, #0xd03
    mov     w9, #54000000 & 0xffff
    movk    w9, #54000000 >> 16, lsl #16
    mov     w10, #19200000 & 0xffff
    movk    w10, #19200000 >> 16, lsl #16
    csel    x9, x10, x9, eq
    msr     cntfrq_el0, x9
1:
    mov     x9, #0x3c9              // EL2h, DAIF masked
    msr     spsr_el3, x9
    adr     x9, from_el2
    msr     elr_el3, x9
    eret
from_el2:
    mov     x9, #(1 << 31)          // HCR_EL2.RW: EL1 is AArch64, nothing is trapped
    msr     hcr_el2, x9
    mov     x9, #3                  // CNTHCTL_EL2: EL1 may use the physical counter and timer
    msr     cnthctl_el2, x9
    msr     cntvoff_el2, xzr
    mov     x9, #0x33ff             // CPTR_EL2: RES1, no trap of FP and SIMD
    msr     cptr_el2, x9
    msr     hstr_el2, xzr
    mrs     x9, pmcr_el0            // MDCR_EL2: no traps; all performance counters (HPMN = PMCR_EL0.N) stay EL1's
    ubfx    x9, x9, #11, #5
    msr     mdcr_el2, x9
    msr     vttbr_el2, xzr
    mrs     x9, midr_el1
    msr     vpidr_el2, x9
    mrs     x9, mpidr_el1
    msr     vmpidr_el2, x9
    mov     x9, #0x3c5              // EL1h, DAIF masked
    msr     spsr_el2, x9
    adr     x9, at_el1
    msr     elr_el2, x9
    ldr     x9, =SCTLR_RES1
    msr     sctlr_el1, x9
    eret
at_el1:
    msr     daifset, #15            // where EL1 is the entry, interrupts may be on
    mov     x9, #(3 << 20)          // CPACR_EL1.FPEN: no trap of FP and SIMD
    msr     cpacr_el1, x9
    msr     mdscr_el1, xzr
    isb
    ret

// Builds the tables: L1, L2 of the first GiB, L2 of the fourth GiB, three L3 for the first 6 MiB. Uses x0-x16.
make_page_tables:
    mov     x16, x30
    adrp    x0, __page_tables       // L1
    adrp    x1, __page_tables_end
    mov     x2, x0
1:  dc      ivac, x2                // no stale line may later hide or overwrite what is written here uncached
    add     x2, x2, #64
    cmp     x2, x1
    b.lo    1b
    dsb     sy
    mov     x2, x0
1:  stp     xzr, xzr, [x2], #16
    cmp     x2, x1
    b.lo    1b

    add     x3, x0, #0x1000         // L2 low
    add     x4, x0, #0x2000         // L2 high
    add     x5, x0, #0x3000         // L3, three pages
    orr     x9, x3, #DESC_TABLE
    str     x9, [x0]
    orr     x9, x5, #DESC_TABLE
    str     x9, [x3]
    add     x9, x9, #0x1000
    str     x9, [x3, #8]
    add     x9, x9, #0x1000
    str     x9, [x3, #16]

    // 4 KiB pages up to __fine_end.
    adrp    x10, __text_start
    adrp    x11, __text_end
    adrp    x12, __rodata_end
    ldr     x13, =__fine_end
    mov     x2, #0
1:  ldr     x9, =(NORMAL_RW | DESC_PAGE)
    cmp     x2, x10
    b.lo    2f
    cmp     x2, x12
    b.hs    2f
    ldr     x9, =(NORMAL_RX | DESC_PAGE)
    cmp     x2, x11
    b.lo    2f
    ldr     x9, =(NORMAL_RO | DESC_PAGE)
2:  orr     x9, x9, x2
    lsr     x8, x2, #12
    str     x9, [x5, x8, lsl #3]
    add     x2, x2, #0x1000
    cmp     x2, x13
    b.lo    1b

    // Guard pages: the lowest page of each stack.
    adrp    x2, __stacks
    ldr     x6, =__stack_main_stride
    bl      unmap_guards
    adrp    x2, __stacks_irq
    ldr     x6, =__stack_irq_stride
    bl      unmap_guards
    adrp    x2, __stacks_fault
    ldr     x6, =__stack_fault_stride
    bl      unmap_guards

    // 2 MiB blocks of plain memory up to __ram_end.
    ldr     x14, =__ram_end
    ldr     x15, =(NORMAL_RW | DESC_BLOCK)
    mov     x2, x13
1:  orr     x9, x15, x2
    lsr     x8, x2, #21
    str     x9, [x3, x8, lsl #3]
    add     x2, x2, #0x200000
    cmp     x2, x14
    b.lo    1b

    // Device windows by core type (MIDR_EL1.PartNum): 0xd03 = Cortex-A53 = BCM2837 (bcm2837 ARM Peripherals 1.2.3:
    // 0x3f000000, local block at 0x40000000), everything else gets that of the BCM2711 (ARM Peripherals 1.2.4:
    // 0xfc000000 to 0xffffffff).
    ldr     x15, =(DEVICE_RW | DESC_BLOCK)
    mrs     x8, midr_el1
    ubfx    x8, x8, #4, #12
    mov     x9, #0xd03
    cmp     x8, x9
    b.ne    3f
    mov     x2, #0x3f000000
    mov     x7, #0x40000000
1:  orr     x9, x15, x2
    lsr     x8, x2, #21
    str     x9, [x3, x8, lsl #3]
    add     x2, x2, #0x200000
    cmp     x2, x7
    b.lo    1b
    orr     x9, x15, x7             // 1 GiB block
    str     x9, [x0, #8]
    b       4f
3:  orr     x9, x4, #DESC_TABLE
    str     x9, [x0, #24]
    mov     x2, #0xfc000000
1:  orr     x9, x15, x2
    ubfx    x8, x2, #21, #9
    str     x9, [x4, x8, lsl #3]
    add     x2, x2, #0x200000
    lsr     x8, x2, #32
    cbz     x8, 1b
4:  dsb     sy
    // Speculation may have brought old contents into the cache while this was written past it.
    mov     x2, x0
1:  dc      ivac, x2
    add     x2, x2, #64
    cmp     x2, x1
    b.lo    1b
    dsb     sy
    mov     x30, x16
    ret

// Clears the L3 entries (table x5) of four guard pages that start at x2 and lie x6 apart. Uses x7, x8.
unmap_guards:
    mov     x7, #4
1:  lsr     x8, x2, #9
    str     xzr, [x5, x8]
    add     x2, x2, x6
    subs    x7, x7, #1
    b.ne    1b
    ret

// Turns on MMU and caches with the tables made by core 0. Uses x9.
enable_mmu:
    ldr     x9, =MAIR
    msr     mair_el1, x9
    ldr     x9, =TCR
    msr     tcr_el1, x9
    adrp    x9, __page_tables
    msr     ttbr0_el1, x9
    dsb     sy
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     sy
    isb
    ldr     x9, =SCTLR_ON
    msr     sctlr_el1, x9
    isb
    ret

// Sets the stacks and the vectors of core x0; comes back on SP_EL0 with SErrors unmasked. Uses x9-x11.
set_up_stacks:
    add     x11, x0, #1
    ldr     x9, =__stack_fault_stride
    adrp    x10, __stacks_fault
    madd    x9, x9, x11, x10
    msr     tpidr_el1, x9           // top of the fault stack: see vectors.s
    ldr     x9, =__stack_irq_stride
    adrp    x10, __stacks_irq
    madd    x9, x9, x11, x10
    msr     SPSel, #1
    mov     sp, x9
    ldr     x9, =__stack_main_stride
    adrp    x10, __stacks
    madd    x9, x9, x11, x10
    msr     SPSel, #0
    mov     sp, x9
    adr     x9, vectors
    msr     vbar_el1, x9
    isb
    msr     daifclr, #4
    ret
