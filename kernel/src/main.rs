//! bring-up
#![no_std]
#![no_main]
extern crate alloc;
mod cpu; mod mem;
fn puts(s:&str){ for b in s.bytes(){ unsafe{ (0x3f201000 as *mut u32).write_volatile(b as u32) } } }
fn hex(v:u64){ for i in (0..16).rev(){ let d=((v>>(i*4))&15) as u8; unsafe{ (0x3f201000 as *mut u32).write_volatile((if d<10 {b'0'+d} else {b'a'+d-10}) as u32) } } }
#[unsafe(no_mangle)] extern "C" fn kernel_main(dt:u64, t:u64)->!{ cpu::time::init(); puts("hello "); hex(dt); puts(" "); hex(t);puts("\n");
 let c=aarch64_cpu::registers::CurrentEL.get(); hex(c); puts("\n");
 unsafe{ boot::start_secondaries([0xe0,0xe8,0xf0]) };
 for _ in 0..10000000 { core::hint::spin_loop() }
 unsafe{ boot::unmap_null_page() };
 use aarch64_cpu::registers::Readable;
 unsafe { (0x3f00000 as *mut u32).write_volatile(1) };
 loop{} }
#[unsafe(no_mangle)] extern "C" fn kernel_secondary(c:u64)->!{ puts("core "); hex(c); puts("\n"); loop{aarch64_cpu::asm::wfi()} }
#[unsafe(no_mangle)] extern "C" fn kernel_interrupt(){}
#[unsafe(no_mangle)] extern "C" fn kernel_fault(k:u64,f:&boot::FaultFrame)->!{ puts("fault "); hex(k); for v in f.x {puts(" "); hex(v);} puts("\nsp "); hex(f.sp); puts(" elr "); hex(f.elr); puts(" esr "); hex(f.esr); puts(" far "); hex(f.far); puts("\n"); loop{} }
#[panic_handler] fn p(_:&core::panic::PanicInfo)->!{loop{}}
