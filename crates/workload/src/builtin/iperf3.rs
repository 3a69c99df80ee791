//! Measures throughput as iperf3 does: serves real iperf3 clients, or is the client of a real server.

use alloc::boxed::Box;

use sockets::SocketError;
use telemetry::metrics::{Metric, Unit as MetricUnit};

use crate::figures::{counter, gauge};
use crate::iperf3::{Error, PORT, STREAMS_MAX, Settings, client, server};
use crate::parameter::{Kind, Unit, Values};
use crate::peer::Host;
use crate::{BoxFuture, Context, Failure, Parameter, Workload};

static CLIENT: Parameter =
    Parameter { name: "client", help: "the server to test with; without it, be a server", kind: Kind::Peer { is_required: false } };

static LISTEN: Parameter = Parameter {
    name: "port",
    help: "where to serve, or the server's port if the peer has none",
    kind: Kind::Integer { min: 1, max: 65_535, default: PORT as u64, unit: Unit::Count },
};

static PROTOCOL: Parameter =
    Parameter { name: "protocol", help: "what to send", kind: Kind::Choice { of: &["tcp", "udp"], default: 0 } };

static DIRECTION: Parameter = Parameter {
    name: "direction",
    help: "who sends: the client, the server (-R), or both (--bidir)",
    kind: Kind::Choice { of: &["send", "receive", "both"], default: 0 },
};

static PARALLEL: Parameter = Parameter {
    name: "parallel",
    help: "streams in each direction (-P)",
    kind: Kind::Integer { min: 1, max: STREAMS_MAX as u64 / 2, default: 1, unit: Unit::Count },
};

static TIME: Parameter = Parameter {
    name: "time",
    help: "how long to send (-t), in whole seconds",
    kind: Kind::Integer { min: 1_000_000, max: 86_400_000_000, default: 10_000_000, unit: Unit::Time },
};

static BYTES: Parameter = Parameter {
    name: "bytes",
    help: "how much to send instead (-n); 0: as much as time allows",
    kind: Kind::Integer { min: 0, max: 1 << 50, default: 0, unit: Unit::Bytes },
};

static RATE: Parameter = Parameter {
    name: "rate",
    help: "bits per second of each stream (-b); 0: no limit, with UDP 1 Mbit/s",
    kind: Kind::Integer { min: 0, max: 10_000_000_000, default: 0, unit: Unit::BitRate },
};

static LEN: Parameter = Parameter {
    name: "len",
    help: "bytes of a block or a datagram (-l); 0: 128k, with UDP 1448",
    kind: Kind::Integer { min: 0, max: 1 << 20, default: 0, unit: Unit::Bytes },
};

static OMIT: Parameter = Parameter {
    name: "omit",
    help: "time at the beginning that does not count (-O), in whole seconds",
    kind: Kind::Integer { min: 0, max: 60_000_000, default: 0, unit: Unit::Time },
};

static PARAMETERS: &[&Parameter] =
    &[&CLIENT, &LISTEN, &PROTOCOL, &DIRECTION, &PARALLEL, &TIME, &BYTES, &RATE, &LEN, &OMIT];

/// In the order of [`crate::iperf3::figure`].
static FIGURES: &[Metric] = &[
    counter("minipirack_iperf3_tests_total", MetricUnit::Count, "Tests that were done."),
    counter("minipirack_iperf3_denied_total", MetricUnit::Count, "Clients that came during a test and were told so."),
    gauge(
        "minipirack_iperf3_sent_bytes_per_second",
        MetricUnit::BytesPerSecond,
        "Rate at which the last test sent.",
    ),
    gauge(
        "minipirack_iperf3_received_bytes_per_second",
        MetricUnit::BytesPerSecond,
        "Rate at which the last test received.",
    ),
    counter("minipirack_iperf3_datagrams_total", MetricUnit::Count, "Datagrams that arrived."),
    counter("minipirack_iperf3_lost_total", MetricUnit::Count, "Datagrams that did not arrive."),
    counter("minipirack_iperf3_out_of_order_total", MetricUnit::Count, "Datagrams that came behind later ones."),
    gauge("minipirack_iperf3_jitter_seconds", MetricUnit::Seconds, "Jitter of the last test's datagrams."),
];

pub(super) static WORKLOAD: Iperf3 = Iperf3;

pub(super) struct Iperf3;

impl Workload for Iperf3 {
    fn name(&self) -> &'static str {
        "iperf3"
    }

    fn summary(&self) -> &'static str {
        "measures throughput with iperf3, as its server or its client"
    }

    fn operation(&self) -> &'static str {
        "one test; its duration is that of the test; a test that was not finished is an error"
    }

    fn parameters(&self) -> &'static [&'static Parameter] {
        PARAMETERS
    }

    fn figures(&self) -> &'static [Metric] {
        FIGURES
    }

    fn run<'a>(&'a self, values: &'a Values, context: Context<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        let port = u16::try_from(values.number(&LISTEN)).unwrap_or(PORT);
        Box::pin(async move {
            let work = async {
                match values.peer(&CLIENT) {
                    None => server::serve(context, port).await,
                    Some(peer) => {
                        let address = match peer.host {
                            Host::Address(address) => address,
                            Host::Name(name) => context.env().network().resolve(name).await?,
                        };
                        client::run(context, (address, peer.port.unwrap_or(port)).into(), settings(values)).await
                    }
                }
            };
            context.attend(work).await.map_err(|error| match error {
                Error::Socket(SocketError::PortInUse) => {
                    Failure::because(format_args!("port {port} belongs to another service: give another port"))
                }
                error => Failure::because(error),
            })
        })
    }
}

fn settings(values: &Values) -> Settings {
    let is_udp = values.number(&PROTOCOL) == 1;
    let direction = values.number(&DIRECTION);
    let bytes = values.number(&BYTES);
    let or = |number: u64, default: u64| if number == 0 { default } else { number };
    Settings {
        is_udp,
        time_s: if bytes > 0 { 0 } else { (values.number(&TIME) / 1_000_000).max(1) },
        bytes,
        blocks: 0,
        omit_s: values.number(&OMIT) / 1_000_000,
        parallel: values.number(&PARALLEL),
        is_reverse: direction == 1,
        is_bidirectional: direction == 2,
        len: or(values.number(&LEN), if is_udp { 1448 } else { 128 * 1024 }),
        rate: or(values.number(&RATE), if is_udp { 1 << 20 } else { 0 }),
        has_long_numbers: is_udp,
    }
}
