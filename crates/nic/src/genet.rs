//! GENET v5: the Ethernet controller of Pi 4B, 400 and CM4, with its PHY.
//!
//! ```text
//! identify → stop what the boot loader left → reset the MAC → find the PHY → start both rings
//!          → move frames (`engine`, on top of `ring`), follow the link (`link`, on top of `phy` and `mdio`)
//! ```
//!
//! Whatever fails, it starts at "stop" again, after a rest. A controller without a PHY is of no use: while there is none, a
//! substitute may take its place.
//!
//! Tested over the register model in `testkit` only: neither QEMU nor a board has run it.

mod engine;
mod link;
mod mac;
mod mdio;
mod phy;
mod ring;

use core::cell::RefCell;
use core::convert::Infallible;

use embassy_futures::select::{Either, Either3, select, select3};
use embassy_futures::yield_now;
use embassy_time::{Duration, Instant, Timer};
use rpi_pac::genet::{Dma, Intrl2, MAJOR_V5, Parts, Registers};
use safe_mmio::{UniqueMmioPointer, field};
use thiserror::Error;

pub use self::engine::EngineError;
use self::engine::{Engine, Slots, Turn};
use self::link::{Losses, Watcher, count_failure};
use self::mac::Mac;
use self::mdio::MdioBus;
pub use self::mdio::MdioError;
use self::phy::Phy;
pub use self::phy::PhyError;
pub use self::ring::Garbage;
use crate::exchange::{FrameExchange, NicInfo};
use crate::{Link, MacAddress};

/// Name of the driver, as shown to people.
pub const NAME: &str = "genet";
/// Rest before the first new start; it doubles with each one that does not help.
const REST_MIN: Duration = Duration::from_millis(100);
/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(30);
/// After it has run for this long the next failure is a first one.
const HEALTHY: Duration = Duration::from_secs(60);
/// Starts in a row without a PHY after which a substitute may take its place: a PHY that is only slow is there by then, 0.7 s
/// after the first.
const STARTS_WITHOUT_PHY: u32 = 4;
/// The same failure is not told more often than this.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// The block says that it is something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("SYS_REV_CTRL is {revision:#010x}: no GENET v5, so this controller is left alone")]
pub struct Unknown {
    /// The revision register.
    pub revision: u32,
}

/// What the driver starts the controller anew for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum GenetError {
    /// The DMA.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The PHY.
    #[error(transparent)]
    Phy(#[from] PhyError),
}

impl GenetError {
    /// Returns whether both are of one kind, whatever their numbers are.
    fn is_like(self, other: Self) -> bool {
        use core::mem::discriminant;
        match (self, other) {
            (Self::Engine(one), Self::Engine(other)) => discriminant(&one) == discriminant(&other),
            (Self::Phy(one), Self::Phy(other)) => discriminant(&one) == discriminant(&other),
            _ => false,
        }
    }
}

/// The controller.
pub struct Genet<'a> {
    mac: Mac<'a>,
    bus: MdioBus<'a>,
    rdma: UniqueMmioPointer<'a, Dma>,
    tdma: UniqueMmioPointer<'a, Dma>,
    intrl2_0: UniqueMmioPointer<'a, Intrl2>,
    intrl2_1: UniqueMmioPointer<'a, Intrl2>,
    slots: Slots,
    address: MacAddress,
}

impl<'a> Genet<'a> {
    /// Makes the driver of the controller with these registers; `address` is the one that the firmware has for the board.
    ///
    /// Nothing is written to the controller yet.
    ///
    /// # Errors
    ///
    /// When it is no GENET v5.
    pub fn identify(registers: UniqueMmioPointer<'a, Registers>, address: MacAddress) -> Result<Self, Unknown> {
        let Parts { mut sys, ext, intrl2_0, intrl2_1, rbuf, tbuf, umac, mdio, mdf, rdma, tdma, hfb } =
            Parts::new(registers);
        let revision = field!(sys, rev_ctrl).read();
        if revision >> 24 & 0xf != MAJOR_V5 {
            return Err(Unknown { revision });
        }
        Ok(Self {
            mac: Mac { umac, mdf, sys, ext, rbuf, tbuf, hfb },
            bus: MdioBus::new(mdio),
            rdma,
            tdma,
            intrl2_0,
            intrl2_1,
            slots: Slots::new(),
            address,
        })
    }

    /// Drives the controller, for ever if it has a PHY. `interrupt` waits until line A is raised; while nobody waits the line
    /// may stay raised without effect. `substitute` waits until there is another controller; when it is while several starts
    /// in a row found no PHY, this returns why, the controller at rest and the exchange without one.
    pub async fn run(
        &mut self,
        exchange: &FrameExchange,
        interrupt: impl AsyncFn(),
        substitute: impl AsyncFn(),
    ) -> PhyError {
        log::info!("nic: {NAME} {}", self.address);
        let mut told = Told::default();
        let mut rest = REST_MIN;
        let mut without_phy = 0;
        exchange.attach(NicInfo { driver: NAME, mac: self.address, tx_headroom: 0 });
        loop {
            let start = Instant::now();
            let Err(error) = self.drive(exchange, &interrupt).await;
            exchange.set_link(Link::Down);
            exchange.count(|counters| counters.restarts += 1);
            told.tell(error);
            if start.elapsed() >= HEALTHY {
                rest = REST_MIN;
            }
            without_phy = if error == PhyError::Missing.into() { without_phy + 1 } else { 0 };
            if without_phy < STARTS_WITHOUT_PHY {
                Timer::after(rest).await;
            } else if let Either::Second(()) = select(Timer::after(rest), substitute()).await {
                exchange.detach();
                return PhyError::Missing;
            }
            rest = (rest * 2).min(REST_MAX);
        }
    }

    /// Brings the controller up and drives it until something fails; leaves it standing still if it can.
    async fn drive(&mut self, exchange: &FrameExchange, interrupt: &impl AsyncFn()) -> Result<Infallible, GenetError> {
        let Self { mac, bus, rdma, tdma, intrl2_0, intrl2_1, slots, address } = self;
        field!(*intrl2_1, mask_set).write(u32::MAX);
        field!(*intrl2_1, clear).write(u32::MAX);
        let mut engine = Engine::new(rdma.reborrow(), tdma.reborrow(), intrl2_0.reborrow(), slots);
        mac.end_reset().await;
        bus.set_clock();
        // A boot loader may have left everything running.
        stop(mac, &mut engine, exchange).await?;
        mac.reset(*address).await;
        mac.flush().await;
        let phy = find_phy(bus, exchange).await?;
        engine.start(exchange)?;
        engine.unmask();
        let engine = RefCell::new(engine);
        let losses = Losses::read(mac);
        let mut watcher = Watcher { mac, bus, phy, address: *address, engine: &engine, exchange, losses };
        let result = match select(move_frames(&engine, exchange, interrupt), watcher.run()).await {
            Either::First(result) => result.map_err(GenetError::from),
            Either::Second(result) => result,
        };
        exchange.set_link(Link::Down);
        // Should it fail, the next start tries again and tells.
        let _ = stop(mac, &mut engine.into_inner(), exchange).await;
        result
    }
}

/// Has frames stop between two and none stay behind (order of Linux bcmgenet_netif_stop), and takes all buffers back.
async fn stop(mac: &mut Mac<'_>, engine: &mut Engine<'_>, exchange: &FrameExchange) -> Result<(), EngineError> {
    engine.mask();
    mac.stop_receiving().await;
    engine.stop_sending(exchange).await?;
    engine.stop_receiving(exchange).await?;
    mac.stop_sending().await;
    engine.give_back(exchange);
    Ok(())
}

async fn find_phy(bus: &mut MdioBus<'_>, exchange: &FrameExchange) -> Result<Phy, GenetError> {
    let found = async {
        let phy = Phy::find(bus).await?;
        if !phy.is_known() {
            log::warn!(
                "nic: genet: its PHY has the unknown id {:#010x}; its clock delays are left as they are",
                phy.id
            );
        }
        phy.configure(bus).await?;
        Ok::<_, PhyError>(phy)
    };
    found.await.map_err(|error| {
        match error {
            PhyError::Mdio(error) => count_failure(error, exchange),
            PhyError::Missing => exchange.count_event(crate::events::NicEvent::PhySilent, 1),
        }
        error.into()
    })
}

/// Moves frames whenever there is a reason to.
async fn move_frames(
    engine: &RefCell<Engine<'_>>,
    exchange: &FrameExchange,
    interrupt: &impl AsyncFn(),
) -> Result<Infallible, EngineError> {
    loop {
        match select3(interrupt(), exchange.take_tx_frame(), exchange.take_rx_buffer()).await {
            Either3::First(()) => {}
            Either3::Second(frame) => engine.borrow_mut().send_first(frame, exchange),
            Either3::Third(buffer) => engine.borrow_mut().add_buffer(buffer, exchange),
        }
        loop {
            let turn = engine.borrow_mut().turn(exchange)?;
            if turn == Turn::Done {
                break;
            }
            // The stack's turn: it gives the buffers back.
            yield_now().await;
        }
    }
}

/// What was told last, so that a controller that fails all the time does not fill the log.
#[derive(Default)]
struct Told {
    last: Option<(GenetError, Instant)>,
    untold: u32,
}

impl Told {
    fn tell(&mut self, error: GenetError) {
        let is_news = self.last.is_none_or(|(last, at)| !last.is_like(error) || at.elapsed() >= TELL_INTERVAL);
        if !is_news {
            self.untold += 1;
            return;
        }
        match core::mem::take(&mut self.untold) {
            0 => log::warn!("nic: genet: {error}; starting it anew"),
            more => log::warn!("nic: genet: {error}; starting it anew ({more} more like the one before were not told)"),
        }
        self.last = Some((error, Instant::now()));
    }
}
