//! Takes a sample once a second: reads every counter of the node and keeps it.

use core::sync::atomic::{AtomicU32, Ordering};

use drivers::mailbox::{self, Clock as FirmwareClock, ClockRate, GetThrottled, Mailbox, Property, Temperature};
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Instant, Ticker};
use hal::dma::DmaPool;
use log::info;
use net::{Ipv4Source, NetStatus, Stack};
use telemetry::net_info::{Ipv4, Ipv4Source as ShownSource, Lease, Link};
use telemetry::sample::{Area, Clock, CoreTime, Memory, NicCounts};
use telemetry::{Counted, Health, LogRing, NetInfo, Sample};

use crate::cpu::{CORES, executor, interrupt, time};
use crate::logger;
use crate::mem::{heap, stacks};
use crate::node::{Counts, MANAGER, Node, SharedMailbox};

/// How often.
const PERIOD: Duration = Duration::from_secs(1);

/// Advances with each sample: watched by the supervisor.
pub(crate) static PROGRESS: AtomicU32 = AtomicU32::new(0);
/// Advances as long as the network does: watched by the supervisor.
pub(crate) static NETWORK_PROGRESS: AtomicU32 = AtomicU32::new(0);

/// How much of a fixed kind of memory there is and is used; it does not change after boot.
#[derive(Clone, Copy)]
pub(crate) struct FixedMemory {
    /// RAM of the ARM cores.
    pub(crate) total: u64,
    /// Image with bss, page tables and stacks.
    pub(crate) image: u64,
    /// Buffers that devices see.
    pub(crate) dma: Area,
}

impl FixedMemory {
    /// Takes stock when everything at boot has been handed out.
    pub(crate) fn new(total: u64, pool: &DmaPool) -> Self {
        let dma = boot::dma().len() as u64;
        let used = dma - pool.left_bytes() as u64;
        Self { total, image: boot::image().len() as u64, dma: Area { size: dma, used, peak: used } }
    }

    /// Returns how many bytes are in use: image, heap, buffers and stacks.
    pub(crate) fn in_use(&self) -> u64 {
        self.image + heap::usage().used as u64 + self.dma.used
    }
}

/// Samples for ever.
pub(crate) async fn run(node: &Node, stack: &Stack, mailbox: &SharedMailbox, memory: FixedMemory) -> ! {
    let mut ticker = Ticker::every(PERIOD);
    let mut is_told = false;
    let mut sample = Sample::EMPTY;
    let mut network_seen = stack.progress();
    loop {
        let throttled;
        (sample, throttled) = take(stack, &mut *mailbox.lock().await, memory, &sample).await;
        let status = stack.status();
        let (malformed, events) = counts(stack);
        node.update_faults(stack);
        node.update(sample, throttled, &status.name, shown(&status, sample.at_us), malformed, events);
        // Relaxed: counters that only have to change.
        PROGRESS.fetch_add(1, Ordering::Relaxed);
        if network_seen != stack.progress() {
            network_seen = stack.progress();
            NETWORK_PROGRESS.fetch_add(1, Ordering::Relaxed);
        }
        // Who looks right after a change, as at boot, must not see the state before it.
        let mut epoch = stack.epoch();
        while let Either::Second(changed) = select(ticker.next(), stack.wait_epoch(epoch)).await {
            epoch = changed;
            node.update_network(shown(&stack.status(), sample.at_us), nic_counts(stack));
        }
        if !is_told {
            // Not earlier: only now has every task what it needs.
            is_told = true;
            info!("{} KiB of RAM in use, {} MiB in all", memory.in_use() / 1024, memory.total >> 20);
        }
    }
}

/// Takes a sample, whose health is not judged yet. Also returns what the firmware says that it has held back.
async fn take(
    stack: &Stack,
    mailbox: &mut Mailbox<'static>,
    memory: FixedMemory,
    last: &Sample,
) -> (Sample, Option<u32>) {
    let mut firmware = Firmware { mailbox, is_mute: false };
    let temperature = firmware.ask(&Temperature).await.and_then(|mc| i32::try_from(mc).ok());
    let throttled = firmware.ask(&GetThrottled { forget: true }).await.map(|bits| bits.0);
    let mut clocks_hz = [None; Clock::ALL.len()];
    for (clock, hz) in Clock::ALL.into_iter().zip(&mut clocks_hz) {
        *hz = firmware.ask(&ClockRate(firmware_clock(clock))).await;
    }
    let at_us = Instant::now().as_micros();
    let time = stack.unix_time();
    let sample = Sample {
        at_us,
        unix_us: time.map(|time| time.micros),
        clock_error_us: time.map(|time| time.error_micros),
        cores: core::array::from_fn(|core| Some(core_time(core, at_us, last.cores.get(core).copied().flatten()))),
        memory: memory_now(memory),
        nic: nic_counts(stack),
        interrupts: Some(interrupt::handled()),
        temperature_mc: temperature,
        throttled: None,
        health: Health::UNKNOWN,
        clocks_hz,
        workloads: MANAGER.counts(),
        log_lines: logger::with_ring(LogRing::written).unwrap_or_default(),
        log_lines_dropped: logger::LOST.load(Ordering::Relaxed),
    };
    (sample, throttled)
}

/// Asks the firmware for what a sample needs. Once it has not answered, the sample goes without the rest: it must not wait
/// for one time-out after the other.
struct Firmware<'a> {
    mailbox: &'a mut Mailbox<'static>,
    is_mute: bool,
}

impl Firmware<'_> {
    async fn ask<P: Property>(&mut self, property: &P) -> Option<P::Output> {
        if self.is_mute {
            return None;
        }
        let answer = self.mailbox.get_async(property).await;
        self.is_mute = matches!(answer, Err(mailbox::Error::Timeout(_)));
        answer.ok()
    }
}

fn firmware_clock(clock: Clock) -> FirmwareClock {
    match clock {
        Clock::Arm => FirmwareClock::Arm,
        Clock::Core => FirmwareClock::Core,
        Clock::Sdram => FirmwareClock::Sdram,
        Clock::Uart => FirmwareClock::Uart,
        Clock::Emmc => FirmwareClock::Emmc,
    }
}

/// Idle is WFI; everything else since power-on is busy.
///
/// Counters never fall: what the clock says is rounded, and moves on between one reading and the next, so the last sample's
/// value counts when the new one is a microsecond less.
fn core_time(core: usize, at_us: u64, last: Option<CoreTime>) -> CoreTime {
    let idle_us = time::ticks_to_micros(executor::idle_ticks(core));
    let last = last.unwrap_or_default();
    CoreTime { idle_us: idle_us.max(last.idle_us), busy_us: at_us.saturating_sub(idle_us).max(last.busy_us) }
}

fn memory_now(fixed: FixedMemory) -> Memory {
    let heap = heap::usage();
    Memory {
        total: fixed.total,
        // The heap's own free part counts as available, not as free: see `Memory::available`.
        free: fixed.total.saturating_sub(fixed.image + fixed.dma.used + heap.size as u64),
        image: fixed.image,
        heap: Area { size: heap.size as u64, used: heap.used as u64, peak: heap.used_most as u64 },
        dma: fixed.dma,
        stacks: core::array::from_fn(|core| {
            let (size, peak) = if core < CORES { stacks::usage(core) } else { (0, 0) };
            Area { size: size as u64, used: peak as u64, peak: peak as u64 }
        }),
    }
}

fn nic_counts(stack: &Stack) -> NicCounts {
    let status = stack.status();
    let counts = status.frames;
    let event = |name| stack.nic_events().find_map(|(event, count)| (event == name).then_some(count)).unwrap_or(0);
    NicCounts {
        rx_frames: counts.rx_frames,
        rx_bytes: counts.rx_bytes,
        rx_errors: counts.rx_errors,
        rx_dropped: counts.rx_dropped,
        tx_frames: counts.tx_frames,
        tx_bytes: counts.tx_bytes,
        tx_errors: counts.tx_errors,
        tx_dropped: counts.tx_dropped,
        // Each time up was a change, and so was each time down, which is as often unless it is up now.
        carrier_changes: (2 * counts.link_ups).saturating_sub(status.link.is_up().into()),
        restarts: counts.restarts,
        crc_errors: event("nic_rx_crc"),
        tx_stalls: event("nic_tx_stall"),
        link_flaps: event("nic_link_flap"),
        looped_frames: stack.counters().get(net::Event::EthernetLooped),
    }
}

/// Splits the counters of the network and its controller into what was malformed, by layer, and all other events.
fn counts(stack: &Stack) -> (Counts, Counts) {
    let (mut malformed, mut events) = (Counts::new(), Counts::new());
    for (name, count) in stack.counters().iter().chain(stack.nic_events()) {
        let full = match name.strip_suffix("_malformed") {
            Some(layer) => malformed.push(Counted { what: layer, count }),
            None => events.push(Counted { what: name, count }),
        };
        debug_assert!(full.is_ok(), "raise KINDS");
    }
    (malformed, events)
}

fn shown(status: &NetStatus, now_us: u64) -> NetInfo {
    NetInfo {
        driver: status.driver,
        mac: status.mac.map_or([0; 6], |mac| mac.0),
        link: match status.link {
            nic::Link::Absent => Link::Absent,
            nic::Link::Down => Link::Down,
            nic::Link::Up { speed_mbps, is_full_duplex } => Link::Up {
                speed_mbps: Some(speed_mbps).filter(|&speed| speed != 0),
                is_full_duplex: Some(is_full_duplex),
            },
        },
        ipv4: status.ipv4.as_ref().map(|ipv4| Ipv4 {
            address: ipv4.address,
            prefix_len: ipv4.prefix_len,
            gateway: ipv4.gateway,
            source: match ipv4.source {
                Ipv4Source::Dhcp { .. } => ShownSource::Dhcp,
                Ipv4Source::Static => ShownSource::Static,
                Ipv4Source::LinkLocal => ShownSource::LinkLocal,
            },
        }),
        lease: status.ipv4.as_ref().and_then(|ipv4| match ipv4.source {
            Ipv4Source::Dhcp { server, lease_left_s } => {
                Some(Lease { server, obtained_us: now_us, duration_s: u32::try_from(lease_left_s).unwrap_or(u32::MAX) })
            }
            _ => None,
        }),
        dns: status.ipv4.as_ref().map(|ipv4| ipv4.dns.iter().copied().collect()).unwrap_or_default(),
        ipv6: status.ipv6.iter().copied().collect(),
        tcp_connections: u32::try_from(status.tcp_connections).unwrap_or(u32::MAX),
        ..NetInfo::EMPTY
    }
}
