//! The tasks of the node: each a thin shell around a function that is written, and tested, elsewhere.

use alloc::boxed::Box;
use core::cell::Cell;
use core::sync::atomic::Ordering;

use ::ssh::guard;
use config::{Config, Mqtt, Peer, Syslog};
use drivers::interrupts::Irq;
use drivers::led::Led;
use drivers::uart::Console;
use embassy_executor::{SpawnError, Spawner, task};
use log::{error, warn};
use net::{Stack, address, http, portal, services};
use nic::exchange::FrameExchange;
use nic::genet::Genet;
use nic::usbnet::BoardInfo;
use rpi_pac::{dwc2, genet};
use safe_mmio::UniqueMmioPointer;
use sockets::name::QUESTIONS;
use sockets::network::PLACES;
use telemetry::sample::{SLOTS_PER_CORE, WORKLOAD_SLOTS};
use usb::bus::Bus;
use usb::dwc2::Controller;
use workload::Scratch;

use crate::cpu::{interrupt, provoke};
use crate::node::{MANAGER, Node, SharedMailbox};
use crate::pages::NodePages;
use crate::sampler::{self, FixedMemory};
use crate::shell_node::CommandNode;
use crate::ssh::Server;
use crate::workloads::{self, ASKERS, NETWORK, NodeEnv};
use crate::{announce, board, certificate, console, faults, frames, locate, mem, mqtt, ssh, syslog};

/// The USB controller with its registers.
pub(crate) type UsbController = Controller<UniqueMmioPointer<'static, dwc2::Registers>>;

/// Clients that each TCP service serves at once: sixteen, and one that is just closing.
const TCP_CLIENTS: usize = 17;
/// Clients that the HTTP server serves at once.
const HTTP_CLIENTS: usize = 12;

/// Starts what the network consists of, without the services that are switched off.
pub(crate) fn spawn_network(
    spawner: Spawner,
    node: &'static Node,
    stack: &'static Stack,
    config: &Config,
) -> Result<(), SpawnError> {
    spawner.spawn(certificate_task(node)?);
    faults::exempt_control(stack, config);
    spawner.spawn(faults_task(node, stack)?);
    spawner.spawn(stack_task(stack)?);
    spawner.spawn(ipv4_task(stack)?);
    spawner.spawn(ipv6_task(stack)?);
    spawner.spawn(extra_address_task(stack)?);
    spawner.spawn(announce_task(stack)?);
    spawner.spawn(time_task(stack)?);
    if config.mdns {
        spawner.spawn(mdns_task(stack)?);
    }
    if config.echo {
        spawn_classic(spawner, stack)?;
    }
    if config.http {
        let pages: &'static NodePages = Box::leak(Box::new(NodePages::new(node, config)));
        for _ in 0..HTTP_CLIENTS {
            spawner.spawn(http_task(pages, stack)?);
        }
    }
    for place in 0..PLACES {
        spawner.spawn(portal_task(stack, place)?);
    }
    for place in 0..QUESTIONS {
        spawner.spawn(names_task(stack, place)?);
    }
    for place in 0..ASKERS {
        spawner.spawn(answer_task(node, stack, place)?);
    }
    spawner.spawn(watch_task()?);
    Ok(())
}

/// Starts the SSH server.
pub(crate) fn spawn_ssh(
    spawner: Spawner,
    server: &'static Server,
    node: &'static Node,
    stack: &'static Stack,
    has_led: bool,
) -> Result<(), SpawnError> {
    for place in 0..guard::PLACES {
        spawner.spawn(ssh_task(server, place, node, stack, has_led)?);
    }
    Ok(())
}

/// Starts echo, discard and chargen.
fn spawn_classic(spawner: Spawner, stack: &'static Stack) -> Result<(), SpawnError> {
    spawner.spawn(udp_echo_task(stack)?);
    spawner.spawn(udp_discard_task(stack)?);
    spawner.spawn(udp_chargen_task(stack)?);
    for _ in 0..TCP_CLIENTS {
        spawner.spawn(tcp_echo_task(stack)?);
        spawner.spawn(tcp_discard_task(stack)?);
        spawner.spawn(tcp_chargen_task(stack)?);
    }
    Ok(())
}

/// Starts what every core runs; on cores 1-3 that includes workloads.
pub(crate) fn spawn_core(spawner: Spawner, core: usize) -> Result<(), SpawnError> {
    spawner.spawn(provoke_task()?);
    if core != 0 {
        let scratch: &'static Scratch = Box::leak(Box::new(Scratch::new(mem::scratch::take(core))));
        let core = u8::try_from(core).unwrap_or(u8::MAX);
        for place in 0..SLOTS_PER_CORE {
            spawner.spawn(workload_task(core, place, scratch)?);
        }
    }
    Ok(())
}

/// The serial console, when there is one.
#[task]
pub(crate) async fn console_task(
    node: &'static Node,
    stack: &'static Stack,
    uart: Option<Console<'static>>,
    irq: Irq,
    report_s: u16,
    has_led: bool,
) {
    if let Some(uart) = uart {
        let node = CommandNode { node, stack, has_led, may_change: true, order: Cell::new(None) };
        console::run(node, uart, irq, report_s).await
    }
}

/// Telemetry.
#[task]
pub(crate) async fn sampler_task(
    node: &'static Node,
    stack: &'static Stack,
    mailbox: &'static SharedMailbox,
    memory: FixedMemory,
) {
    sampler::run(node, stack, mailbox, memory).await
}

/// The LED.
#[task]
pub(crate) async fn locate_task(led: Led<'static>, mailbox: &'static SharedMailbox) {
    locate::run(led, mailbox).await
}

/// The USB controller and all hubs.
#[task]
pub(crate) async fn usb_task(controller: &'static UsbController, irq: Irq, bus: &'static Bus<'static>) {
    if let Err(error) = controller.init().await {
        return error!("no USB: {error}");
    }
    board::USB_RUNS.store(true, Ordering::Relaxed);
    // Not earlier: whatever the firmware left enabled is off now.
    interrupt::connect(irq, Box::leak(Box::new(|| controller.on_interrupt())));
    match bus.run().await {}
}

/// The network controller: GENET where there is one, and it has a PHY; otherwise whichever is plugged in.
///
/// A cable is not a reason to change over: a node has one interface, with one address and one name.
#[task]
pub(crate) async fn nic_task(
    bus: &'static Bus<'static>,
    exchange: &'static FrameExchange,
    board: BoardInfo,
    genet: Option<(UniqueMmioPointer<'static, genet::Registers>, Irq)>,
) {
    if let Some((registers, irq)) = genet {
        match Genet::identify(registers, board.address(None)) {
            Ok(genet) => {
                let genet = Box::leak(Box::new(genet));
                let error = genet.run(exchange, || interrupt::wait(irq), || bus.has_device()).await;
                warn!("nic: genet: {error}: the one on USB takes its place");
            }
            Err(error) => warn!("nic: {error}"),
        }
    }
    match nic::usbnet::run(bus, exchange, &board).await {}
}

#[task]
async fn certificate_task(node: &'static Node) {
    certificate::tell(node).await
}

#[task]
async fn faults_task(node: &'static Node, stack: &'static Stack) {
    faults::run(node, stack).await
}

#[task]
async fn stack_task(stack: &'static Stack) {
    stack.run().await
}

#[task]
async fn ipv4_task(stack: &'static Stack) {
    address::run_ipv4(stack).await
}

#[task]
async fn ipv6_task(stack: &'static Stack) {
    address::run_ipv6(stack).await
}

#[task]
async fn extra_address_task(stack: &'static Stack) {
    address::run_extra(stack, &NETWORK).await
}

#[task]
async fn announce_task(stack: &'static Stack) {
    announce::run(stack).await
}

#[task]
async fn mdns_task(stack: &'static Stack) {
    net::mdns::run(stack).await
}

#[task]
async fn time_task(stack: &'static Stack) {
    net::time::run(stack).await
}

/// The log's way to a server.
#[task]
pub(crate) async fn syslog_task(stack: &'static Stack, server: Syslog) {
    syslog::run(stack, server).await
}

/// Samples, log and events at an MQTT broker.
#[task]
pub(crate) async fn mqtt_task(node: &'static Node, stack: &'static Stack, broker: Peer, config: Mqtt, boot: u32) {
    mqtt::run(node, stack, broker, config, boot).await
}

/// The log and the samples for a client that reads defmt frames.
#[task(pool_size = frames::CLIENTS)]
pub(crate) async fn frames_task(node: &'static Node, stack: &'static Stack, port: u16) {
    frames::serve(node, stack, port).await
}

#[task(pool_size = TCP_CLIENTS)]
async fn tcp_echo_task(stack: &'static Stack) {
    services::tcp_echo(stack).await
}

#[task(pool_size = TCP_CLIENTS)]
async fn tcp_discard_task(stack: &'static Stack) {
    services::tcp_discard(stack).await
}

#[task(pool_size = TCP_CLIENTS)]
async fn tcp_chargen_task(stack: &'static Stack) {
    services::tcp_chargen(stack).await
}

#[task]
async fn udp_echo_task(stack: &'static Stack) {
    services::udp_echo(stack).await
}

#[task]
async fn udp_discard_task(stack: &'static Stack) {
    services::udp_discard(stack).await
}

#[task]
async fn udp_chargen_task(stack: &'static Stack) {
    services::udp_chargen(stack).await
}

#[task(pool_size = HTTP_CLIENTS)]
async fn http_task(pages: &'static NodePages, stack: &'static Stack) {
    http::serve(stack, http::HTTP_PORT, &pages).await
}

#[task(pool_size = guard::PLACES)]
async fn ssh_task(server: &'static Server, place: usize, node: &'static Node, stack: &'static Stack, has_led: bool) {
    ssh::run(server, place, node, stack, has_led).await
}

#[task(pool_size = ASKERS)]
async fn answer_task(node: &'static Node, stack: &'static Stack, place: usize) {
    workloads::answer(node, stack, place).await
}

#[task]
async fn watch_task() {
    workloads::watch().await
}

#[task(pool_size = PLACES)]
async fn portal_task(stack: &'static Stack, place: usize) {
    portal::serve(stack, &NETWORK, place).await
}

#[task(pool_size = QUESTIONS)]
async fn names_task(stack: &'static Stack, place: usize) {
    portal::answer_questions(stack, &NETWORK, place).await
}

#[task(pool_size = 4)]
async fn provoke_task() {
    provoke::listen().await
}

#[task(pool_size = WORKLOAD_SLOTS)]
async fn workload_task(core: u8, place: usize, scratch: &'static Scratch) {
    workload::run_slot(core, place, &MANAGER, &NodeEnv, scratch).await
}
