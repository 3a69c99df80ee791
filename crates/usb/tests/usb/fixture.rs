//! A bus with the model of the controller under it, and everything that must run beside a test.

use embassy_futures::join::join;
use embassy_futures::select::{Either3, select3};
use embassy_time::{Duration, Timer};
use testkit::dma::FakeDma;
use testkit::time;
use testkit::usb::ecm::Ecm;
use testkit::usb::{Kind, Machine, Model, Node};
use usb::bus::{Bus, Claims};
use usb::descriptor::{Configuration, DeviceDescriptor};
use usb::device::{Device, Pipe};
use usb::dwc2::Controller;
use usb::host::{Direction, Kind as EndpointKind, Speed};

/// The longest a test may take in virtual time.
const TEST_TIME: Duration = Duration::from_secs(600);

pub(crate) const BOTH: [Kind; 2] = [Kind::Emulator, Kind::Silicon];

/// Claims whatever comes from the vendor of the fake NICs.
struct Claim;

impl Claims for Claim {
    fn rate(&self, device: &DeviceDescriptor, _configuration: &Configuration) -> u8 {
        u8::from(device.vendor == 0x0525)
    }
}

/// Everything that a test of the bus needs.
pub(crate) struct Setup<'a> {
    pub(crate) model: &'a Model,
    pub(crate) controller: &'a Controller<Model>,
    pub(crate) bus: &'a Bus<'a>,
    pub(crate) pool: hal::dma::DmaPool,
}

/// Runs a test beside the bus, the controller's interrupts and time.
pub(crate) fn on_bus<T>(kind: Kind, plug: impl FnOnce(&Model), test: impl AsyncFnOnce(Setup<'_>) -> T) -> T {
    let (dma, mut pool) = FakeDma::new(256 * 1024);
    let model = Model::new(kind, dma);
    plug(&model);
    let controller = Controller::new(model.clone());
    let bus = Bus::new(&controller, &Claim, &mut pool).unwrap();
    time::run(async {
        let machine = join(Machine::run(&model, &controller), async {
            controller.init().await.unwrap();
            bus.run().await
        });
        let setup = Setup { model: &model, controller: &controller, bus: &bus, pool };
        match select3(machine, test(setup), Timer::after(TEST_TIME)).await {
            Either3::First(_) => unreachable!("the bus runs for ever"),
            Either3::Second(result) => result,
            Either3::Third(()) => panic!("the test waits for something that never happens"),
        }
    })
}

/// Plugs a high-speed adapter into the root port.
pub(crate) fn plug(model: &Model) {
    model.plug(Node::new(Speed::High, Box::new(Ecm::new(512))));
}

/// The bulk pipes of the fake: IN and OUT.
pub(crate) fn pipes<'b>(device: &Device<'b>) -> (Pipe<'b>, Pipe<'b>) {
    let data = device.configuration().interface(1, 1).unwrap();
    let pipe = |direction| device.pipe(data.endpoint(EndpointKind::Bulk, direction).unwrap());
    (pipe(Direction::In), pipe(Direction::Out))
}

/// Data that tells its place.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}
