//! The controller's start: what it writes, and what keeps it from starting.

use embassy_time::{Duration, Instant};
use testkit::dma::FakeDma;
use testkit::time;
use testkit::usb::{Kind, Model};
use usb::dwc2::registers::{Channel, Register, RegisterAccess};
use usb::dwc2::{Controller, InitError, has_held_transfers};

/// A block that answers nothing, as when the power domain is off.
struct Dead;

impl RegisterAccess for Dead {
    fn read(&self, _register: Register) -> u32 {
        0
    }
    fn write(&mut self, _register: Register, _value: u32) {}
}

#[test]
fn a_controller_without_power_is_reported() {
    let controller = Controller::new(Dead);
    assert_eq!(time::run(controller.init()), Err(InitError::NotThere { gsnpsid: 0 }));
}

#[test]
fn only_the_emulators_transfers_must_end_before_a_restart() {
    struct Running(Model, usize);
    impl RegisterAccess for Running {
        fn read(&self, register: Register) -> u32 {
            let is_enabled = register == Register::Channel(self.1, Channel::Hcchar);
            if is_enabled { 1 << 31 } else { self.0.read(register) }
        }
        fn write(&mut self, _register: Register, _value: u32) {}
    }
    let (dma, _) = FakeDma::new(4096);
    for (kind, channel, must_wait) in
        [(Kind::Emulator, 0, true), (Kind::Emulator, 7, true), (Kind::Emulator, 8, false), (Kind::Silicon, 0, false)]
    {
        let registers = Running(Model::new(kind, dma), channel);
        assert_eq!(has_held_transfers(&registers), must_wait, "{kind:?}, channel {channel}");
    }
    assert!(!has_held_transfers(&Dead));
}

#[test]
fn a_reset_that_never_ends_is_reported() {
    struct Stuck(Model);
    impl RegisterAccess for Stuck {
        fn read(&self, register: Register) -> u32 {
            if register == Register::Grstctl { 0x8000_0001 } else { self.0.read(register) }
        }
        fn write(&mut self, register: Register, value: u32) {
            self.0.write(register, value);
        }
    }
    let (dma, _) = FakeDma::new(4096);
    let controller = Controller::new(Stuck(Model::new(Kind::Silicon, dma)));
    assert_eq!(time::run(controller.init()), Err(InitError::Reset { grstctl: 0x8000_0001 }));
}

#[test]
fn a_controller_that_stays_a_device_is_reported() {
    let (dma, _) = FakeDma::new(4096);
    let model = Model::new(Kind::Silicon, dma);
    model.set_host_mode_time(None);
    let controller = Controller::new(model.clone());
    let result = time::run(async {
        let start = Instant::now();
        let result = controller.init().await;
        assert!(start.elapsed() < Duration::from_millis(300));
        result
    });
    assert!(
        matches!(result, Err(InitError::StaysDevice { gintsts, gusbcfg }) if gintsts & 1 == 0 && gusbcfg == 1 << 29 | 5 << 10),
        "{result:?}"
    );
    assert_eq!(model.read(Register::Hprt0), 0, "no power for a port that is not there");
}

/// FIFO sizes as Linux and U-Boot have them, DMA with AXI waits (Linux `dwc2_set_bcm_params`), host mode, interrupts.
#[test]
fn initialisation_writes_what_the_bcm2835_needs() {
    let (dma, _) = FakeDma::new(4096);
    let model = Model::new(Kind::Silicon, dma);
    let controller = Controller::new(model.clone());
    time::run(controller.init()).unwrap();
    for (register, value) in [
        (Register::Grxfsiz, 774),
        (Register::Gnptxfsiz, 256 << 16 | 774),
        (Register::Hptxfsiz, 512 << 16 | 1030),
        (Register::Gahbcfg, 1 << 5 | 1 << 4 | 1),
        (Register::Gusbcfg, 1 << 29 | 5 << 10),
        (Register::Gintmsk, 1 << 29 | 1 << 25 | 1 << 24),
        (Register::Haintmsk, 0xFF),
        (Register::Hprt0, 1 << 12),
    ] {
        assert_eq!(model.read(register), value, "{register:?}");
    }
}
