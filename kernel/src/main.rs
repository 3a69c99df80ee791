//! The node: one image for every board. This file is the story of a boot; the work is done elsewhere.
#![no_std]
#![no_main]

extern crate alloc;

mod announce;
mod board;
mod certificate;
mod configuration;
mod console;
mod cpu;
mod facts;
mod faults;
mod frames;
mod locate;
mod logger;
mod mem;
mod mqtt;
mod node;
mod pages;
mod past;
mod sampler;
mod shell_node;
mod ssh;
mod supervisor;
mod syslog;
mod tasks;
mod workloads;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use boards::soc::{BLUETOOTH_PINS, CONSOLE_PINS, Facts};
use config::{Config, Ip};
use drivers::gpio::Gpio;
use drivers::interrupts::Irq;
use drivers::led::Led;
use drivers::mailbox::{
    self, Clock, ClockRate, Device, Mailbox, MaxClockRate, MeasuredClockRate, SetClockRate, SetPower,
};
use drivers::rng::{Bcm2835Rng, Rng, Rng200};
use drivers::uart::{Console, MiniUart, Pl011};
use drivers::watchdog::Watchdog;
use embassy_executor::SpawnError;
use embassy_time::Instant;
use hal::dma::DmaPool;
use log::{LevelFilter, error, info, warn};
use net::{Identity, Ipv4Settings, Settings, Stack};
use nic::MacAddress;
use nic::exchange::{FrameExchange, TX_BUFFERS};
use nic::usbnet::{BoardInfo, Preference, UsbNics};
use rpi_pac::gpio::Function;
use telemetry::{Access, NodeInfo};
use usb::bus::Bus;

use crate::board::RngRegisters;
use crate::cpu::{CORES, entry, executor, fault, interrupt};
use crate::facts::BoardFacts;
use crate::node::{MANAGER, Node, SharedMailbox};
use crate::sampler::FixedMemory;
use crate::tasks::UsbController;

/// Version of the image.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The PL011's clock when the firmware does not tell (config.txt, init_uart_clock).
const UART_CLOCK_HZ: u32 = 48_000_000;
/// The mini UART's clock when the firmware does not tell (config.txt, core_freq with enable_uart=1).
const CORE_CLOCK_HZ: u32 = 250_000_000;
/// Receive buffers for a controller on USB, and their length in bytes: few, for bursts.
const USB_RX_BUFFERS: (usize, usize) = (32, 16 * 1024);
/// Receive buffers for GENET: its ring holds all of them, with a frame in each.
const GENET_RX_BUFFERS: (usize, usize) = (nic::exchange::RX_BUFFERS, 2048);
/// Bytes of a transmit buffer: a frame, the longest headroom and padding of a USB NIC.
const TX_BUFFER_LEN: usize = 2048;

/// Everything from the first register to the executor, on core 0. Not inlined into its caller, so that its frame, if it were
/// too large for the stack, would fault when time is already there for the report.
#[inline(never)]
fn boot(device_tree: usize, entry_ticks: u64) -> ! {
    logger::init(LevelFilter::Info);
    let (soc, blocks) = match board::claim() {
        Ok(claimed) => claimed,
        Err(midr) => fault::refuse_board(format_args!("unknown processor, MIDR {midr:#x}")),
    };
    let facts = soc.facts();
    // Before anything has memory of its own.
    let handover = mem::handover::take(device_tree);
    let mut pool = mem::init(facts.dma_offset);
    interrupt::init(blocks.interrupts);

    let Some(buffer) = pool.take(mailbox::BUFFER_LEN) else { no_memory("the mailbox") };
    let mut mailbox = Mailbox::new(blocks.mailbox, buffer);
    let mut gpio = Gpio::new(blocks.gpio);
    run_at_full_speed(&mut mailbox);
    let (uart, uart_irq) = open_console(blocks.uart0, blocks.mini_uart, &mut gpio, facts, &mut mailbox);
    let board = BoardFacts::find(soc, &mut mailbox, handover.device_tree);
    mem::scratch::map(&board);
    info!("MiniPiRack {VERSION} on {}, {}", board.model, soc);
    // Early: its first numbers take time.
    let mut rng = start_rng(blocks.rng, board.is_emulated);
    let config = configuration::read(handover.initramfs, &board.command_line);
    let watchdog = Watchdog::new(blocks.pm);
    let (past, crashes) = past::recall(watchdog.reset_reason());

    if let Err(arrived) = entry::start_cores(soc) {
        error!("only {arrived} of {} cores have started; workloads run on these", CORES - 1);
    }
    interrupt::init_core();
    supervisor::init(watchdog, config.watchdog && !board.is_emulated);
    supervisor::watch("telemetry", &sampler::PROGRESS);
    supervisor::watch("the network", &sampler::NETWORK_PROGRESS);
    power_usb(&mut mailbox);

    let controller: &'static UsbController = Box::leak(Box::new(UsbController::new(blocks.usb)));
    let claims = Box::leak(Box::new(UsbNics { prefer: preference(config.usbnet) }));
    let Ok(bus) = Bus::new(controller, claims, &mut pool) else { no_memory("USB") };
    let bus: &'static Bus<'static> = Box::leak(Box::new(bus));
    let genet = blocks.genet.filter(|_| board.has_genet()).zip(facts.irqs.genet.map(|[line_a, _]| line_a));
    let exchange = make_exchange(&mut pool, if genet.is_some() { GENET_RX_BUFFERS } else { USB_RX_BUFFERS });
    let (seed, secret) = random_numbers(rng.as_mut(), entry_ticks, &config, &board);
    workloads::set_seed(seed);
    let id = if board.serial == 0 { seed } else { board.serial };
    let nic_board = BoardInfo { mac: board.mac.map(MacAddress), id };
    let stack = Stack::new(exchange, settings(&config, &board, seed, secret));
    let (ssh, access) = ssh::prepare(&config, &board, rng.as_mut(), entry_ticks);
    info!("access: {access}");
    let node: &'static Node = Box::leak(Box::new(Node::new(node_info(&config, &board, access), past, crashes)));
    for (spec, place) in config.workloads.iter().zip(&config.workload_places) {
        if let Err(error) = MANAGER.start(spec, None) {
            warn!("{place}: workload={spec} ignored: {error}");
        }
    }
    let memory = FixedMemory::new(board.memory_bytes, &pool);
    let led = board.led.map(|led| Led::new(led, gpio));
    let has_led = led.is_some();
    let mailbox: &'static SharedMailbox = Box::leak(Box::new(SharedMailbox::new(mailbox)));
    let since_entry = Instant::now().as_micros();
    info!("booted in {}.{:03} ms", since_entry / 1000, since_entry % 1000);
    executor::run(|spawner| {
        let spawn = || -> Result<(), SpawnError> {
            spawner.spawn(tasks::console_task(node, stack, uart, uart_irq, config.report_s, has_led)?);
            spawner.spawn(tasks::sampler_task(node, stack, mailbox, memory)?);
            spawner.spawn(tasks::usb_task(controller, facts.irqs.usb, bus)?);
            spawner.spawn(tasks::nic_task(bus, exchange, nic_board, genet)?);
            if let Some(led) = led {
                spawner.spawn(tasks::locate_task(led, mailbox)?);
            }
            if let Some(server) = config.syslog {
                spawner.spawn(tasks::syslog_task(stack, server)?);
            }
            if let Some(ssh) = ssh {
                tasks::spawn_ssh(spawner, ssh, node, stack, has_led)?;
            }
            if let Some(broker) = config.mqtt.broker.clone() {
                spawner.spawn(tasks::mqtt_task(node, stack, broker, config.mqtt.clone(), boot_mark(seed))?);
            }
            if let Some(port) = config.defmt {
                for _ in 0..frames::CLIENTS {
                    spawner.spawn(tasks::frames_task(node, stack, port)?);
                }
            }
            tasks::spawn_core(spawner, 0)?;
            tasks::spawn_network(spawner, node, stack, &config)
        };
        if let Err(error) = spawn() {
            error!("a task has no place: {error}");
        }
    })
}

/// What cores 1-3 do.
fn run_core(core: usize) -> ! {
    interrupt::init_core();
    executor::run(|spawner| {
        if let Err(error) = tasks::spawn_core(spawner, core) {
            error!("a task has no place: {error}");
        }
    })
}

/// Asks for the ARM cores' highest frequency: nobody else would after the firmware's first minute (config.txt,
/// initial_turbo). Before the console, because the core clock may change with it.
fn run_at_full_speed(mailbox: &mut Mailbox<'_>) {
    if let Ok(hz) = mailbox.get(&MaxClockRate(Clock::Arm)) {
        // Refused, it stays as it is; samples show it.
        let _ = mailbox.get(&SetClockRate { clock: Clock::Arm, hz });
    }
}

/// Opens the UART that the firmware has connected to the header's pins; the PL011 when it has connected none.
fn open_console(
    uart0: safe_mmio::UniqueMmioPointer<'static, arm_pl011_uart::PL011Registers>,
    mini: safe_mmio::UniqueMmioPointer<'static, rpi_pac::aux_mini_uart::Registers>,
    gpio: &mut Gpio<'static>,
    facts: &Facts,
    mailbox: &mut Mailbox<'_>,
) -> (Option<Console<'static>>, Irq) {
    let [tx, _] = CONSOLE_PINS;
    if gpio.function(tx) == Function::Alt5 {
        // Measured, where the firmware can: what it says to have set was wrong in some versions.
        let measured = mailbox.get(&MeasuredClockRate(Clock::Core));
        let clock_hz = measured.or_else(|_| mailbox.get(&ClockRate(Clock::Core))).unwrap_or(CORE_CLOCK_HZ);
        return (MiniUart::init(mini, clock_hz).ok().map(Console::Mini), facts.irqs.aux);
    }
    // The PL011 has one receiver: a Bluetooth chip must not be on it too.
    for pin in BLUETOOTH_PINS {
        if gpio.function(pin) == Function::Alt3 {
            gpio.set_function(pin, Function::Input);
        }
    }
    for pin in CONSOLE_PINS {
        gpio.set_function(pin, Function::Alt0);
    }
    // A PL011 that nobody uses may have been left at 1 GHz (github.com/raspberrypi/firmware, 951).
    let set = mailbox.get(&SetClockRate { clock: Clock::Uart, hz: UART_CLOCK_HZ });
    let clock_hz = set.or_else(|_| mailbox.get(&ClockRate(Clock::Uart))).unwrap_or(UART_CLOCK_HZ);
    (Pl011::init(uart0, clock_hz).ok().map(Console::Pl011), facts.irqs.uart0)
}

fn preference(usbnet: Option<config::UsbNet>) -> Preference {
    match usbnet {
        Some(config::UsbNet::Ecm) => Preference::Ecm,
        Some(config::UsbNet::Ncm) => Preference::Ncm,
        Some(config::UsbNet::Rndis) => Preference::Rndis,
        None => Preference::default(),
    }
}

fn power_usb(mailbox: &mut Mailbox<'_>) {
    match mailbox.get(&SetPower { device: Device::UsbHcd, is_on: true }) {
        Ok(true) => {}
        Ok(false) => warn!("the firmware does not switch on the USB controller"),
        Err(error) => warn!("the firmware does not switch on the USB controller: {error}"),
    }
}

fn make_exchange(pool: &mut DmaPool, (rx_count, rx_len): (usize, usize)) -> &'static FrameExchange {
    let mut take = |count, len| (0..count).map_while(|_| pool.take(len)).collect::<Vec<_>>();
    let (rx, tx) = (take(rx_count, rx_len), take(TX_BUFFERS, TX_BUFFER_LEN));
    Box::leak(Box::new(FrameExchange::new(rx, tx)))
}

/// Starts the random number generator, if there is one: the emulated BCM2711 lacks it.
fn start_rng(registers: RngRegisters, is_emulated: bool) -> Option<Rng<'static>> {
    match registers {
        RngRegisters::Bcm2835(registers) => Some(Rng::Bcm2835(Bcm2835Rng::new(registers))),
        RngRegisters::Rng200(_) if is_emulated => None,
        RngRegisters::Rng200(registers) => Some(Rng::Rng200(Rng200::new(registers))),
    }
}

/// Returns a seed, and a secret for connection numbers, of hardware random numbers; without them, of when the node was switched on, and
/// of which node it is, as several may be switched on at once.
fn random_numbers(rng: Option<&mut Rng<'_>>, entry_ticks: u64, config: &Config, board: &BoardFacts) -> (u64, [u8; 16]) {
    let (mut seed, mut secret) = ([0; 8], [0; 16]);
    let result = rng.map(|rng| rng.fill(&mut seed).and_then(|()| rng.fill(&mut secret)));
    let why = match &result {
        Some(Ok(())) => return (u64::from_le_bytes(seed) ^ entry_ticks, secret),
        Some(Err(error)) => error as &dyn core::fmt::Display,
        None => &"the emulated board has no random number generator",
    };
    warn!("connection numbers can be guessed: {why}");
    (entry_ticks ^ mark_of(config, board), u128::from(entry_ticks).to_le_bytes())
}

/// FNV-1a with 64 bits (Fowler, Noll, Vo; RFC 9923) of what tells one node from others: no secret.
fn mark_of(config: &Config, board: &BoardFacts) -> u64 {
    let name = config.name.as_ref().map_or("", |name| name.as_str());
    let bytes = name.bytes().chain(board.mac.unwrap_or_default()).chain(board.serial.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Tells one life of the node from others. It has too few bits to tell anything of the seed.
fn boot_mark(seed: u64) -> u32 {
    // Multiplicative hashing: Knuth, "The Art of Computer Programming", volume 3, section 6.4.
    (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u32
}

fn settings(config: &Config, board: &BoardFacts, seed: u64, secret: [u8; 16]) -> Settings {
    Settings {
        name: config.name.as_ref().map(|name| String::from(name.as_str())),
        ipv4: match config.ip {
            Ip::Dhcp => Ipv4Settings::Dhcp,
            Ip::Static { address, prefix_len, gateway } => Ipv4Settings::Static { address, prefix_len, gateway },
        },
        ntp: config.ntp,
        identity: Identity {
            version: String::from(VERSION),
            board: String::from(board.model.as_str()),
            serial: format!("{:016x}", board.serial),
        },
        seed,
        secret,
    }
}

fn node_info(config: &Config, board: &BoardFacts, access: Access) -> NodeInfo {
    NodeInfo {
        name: config.name.clone().unwrap_or_default(),
        board: board.model.clone(),
        soc: board.soc.facts().name.chars().collect(),
        revision: board.revision,
        serial: board.serial,
        is_emulated: board.is_emulated,
        version: VERSION,
        build: option_env!("MINIPIRACK_BUILD").unwrap_or("unknown"),
        access,
    }
}

#[expect(clippy::panic, reason = "a bug of ours: the memory map is too small")]
fn no_memory(what: &str) -> ! {
    panic!("no DMA memory for {what}")
}
