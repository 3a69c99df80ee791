//! bring-up
#![no_std]
#![no_main]
extern crate alloc;
mod cpu; mod mem;
fn puts(s:&str){ for b in s.bytes(){ unsafe{ (0x3f201000 as *mut u32).write_volatile(b as u32) } } }
fn hex(v:u64){ for i in (0..16).rev(){ let d=((v>>(i*4))&15) as u8; unsafe{ (0x3f201000 as *mut u32).write_volatile((if d<10 {b'0'+d} else {b'a'+d-10}) as u32) } } }
#[unsafe(no_mangle)] extern "C" fn kernel_main(dt:u64, t:u64)->!{ cpu::time::init(); puts("hello "); hex(dt); puts(" "); hex(t);puts("\n");

 unsafe{ boot::start_secondaries([0xe0,0xe8,0xf0]) };
 unsafe{ boot::unmap_null_page() };
 cpu::interrupt::init_core(); 
 cpu::executor::run(|s| s.spawn(tick().unwrap()))
}
static SIG: embassy_sync::signal::Signal<embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex,u64>=embassy_sync::signal::Signal::new();
#[embassy_executor::task] async fn tick(){ let mut n=0; loop { embassy_time::Timer::after_millis(500).await; hex(embassy_time::Instant::now().as_micros()); puts(" idle "); hex(cpu::executor::idle_ticks(0)); puts("\n"); n+=1; SIG.signal(n); } }
#[embassy_executor::task] async fn other(){ loop { let n=SIG.wait().await; let t=embassy_time::Instant::now(); embassy_time::Timer::after_millis(10).await; puts("core got "); hex(n); puts(" "); hex(t.elapsed().as_micros()); puts("\n"); } }
#[unsafe(no_mangle)] extern "C" fn kernel_secondary(c:u64)->!{ puts("core "); hex(c); puts("\n"); cpu::interrupt::init_core(); cpu::executor::run(|s| if c==2 {s.spawn(other().unwrap())}) }
#[unsafe(no_mangle)] extern "C" fn kernel_fault(k:u64,f:&boot::FaultFrame)->!{ puts("fault "); hex(k); for v in f.x {puts(" "); hex(v);} puts("\nsp "); hex(f.sp); puts(" elr "); hex(f.elr); puts(" esr "); hex(f.esr); puts(" far "); hex(f.far); puts("\n"); loop{} }
#[panic_handler] fn p(_:&core::panic::PanicInfo)->!{loop{}}
