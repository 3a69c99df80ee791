//! `history`: clients that write to and read from stores, with an account of what they did and saw, checked.
//!
//! | module | what |
//! |---|---|
//! | `operation` | what was asked and answered, and when |
//! | `record` | clients that keep an account; acknowledged writes that are lost |
//! | `client` | SET and GET, over RESP |
//! | `check` | is the account one that a register can have? |
//! | `finding` | what that, and a look for lost writes, has come to |

mod check;
mod client;
mod finding;
mod operation;
mod record;

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

pub(crate) use self::finding::{Finding, audit};
use self::record::Dial;
pub(crate) use self::record::{Plan, Recorder};
use crate::fleet::{Interrupt, Login, Node, Selection, Stream};

/// Port of a store.
const PORT: u16 = 6379;
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is looked whether the user has had enough.
const LOOK: Duration = Duration::from_millis(50);

/// Which stores, and how they are asked.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The stores: nodes that run `kv` by name, address or number, or HOST:PORT of any server that speaks RESP. Clients begin with
    /// the first one, and go on to the next when one refuses or does not answer.
    #[arg(required = true, value_name = "NODE|HOST:PORT")]
    stores: Vec<String>,
    /// For how long, in seconds.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 10)]
    time: u64,
    /// Clients at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    clients: u16,
    /// Registers that they share.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    keys: u32,
    /// Time between two operations of a client, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 10)]
    pace: u64,
    /// How long an answer may take, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// Of the random choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    selection: Selection,
}

/// Records a history and judges it: 0 when all is well, 1 when not, 2 when there is too little to tell.
///
/// # Errors
/// When a node is not there.
pub(crate) fn history(options: &Options) -> Result<ExitCode> {
    let stores = options.stores.iter().map(|name| dial(name, &options.selection)).collect::<Result<Vec<_>>>()?;
    let timeout = Duration::from_millis(options.timeout);
    let plan = Plan {
        stores,
        clients: options.clients,
        keys: options.keys,
        pace: Duration::from_millis(options.pace),
        timeout,
        seed: options.seed,
    };
    let interrupt = Interrupt::catch()?;
    let recorder = Recorder::start(&plan);
    let end = Instant::now() + Duration::from_secs(options.time);
    while Instant::now() < end && !interrupt.is_set() {
        thread::sleep(LOOK.min(end.saturating_duration_since(Instant::now())));
    }
    let history = recorder.stop();
    let finding = Finding::of(&history, &plan);
    let mut out = format!(
        "{} operations, {} refused, {} without an answer; longest time without one {:.3} s\n",
        history.operations.len() + history.kept.len(),
        history.refused,
        history.unknown,
        finding.silence.as_secs_f64()
    );
    if let Some(trouble) = &history.trouble {
        out += &format!("the last trouble: {trouble}\n");
    }
    out += &format!("{}\n{}\n", finding.about_violations, finding.about_lost);
    io::stdout().lock().write_all(out.as_bytes())?;
    Ok(ExitCode::from(match (finding.violations, finding.lost) {
        (Some(0), Some(0)) => 0,
        (Some(1..), _) | (_, Some(1..)) => 1,
        _ => 2,
    }))
}

/// Returns how to connect to the store of a node.
pub(crate) fn node(node: Node) -> Dial {
    Arc::new(move || node.dial(PORT))
}

/// Returns how to connect to a store.
fn dial(name: &str, selection: &Selection) -> Result<Dial> {
    // With a port it is no node's name. Only an address in brackets has colons besides.
    if let Some((_, port)) = name.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        let found = name.to_socket_addrs().with_context(|| format!("{name} can't be resolved"))?.next();
        let Some(address) = found else { bail!("{name} has no address") };
        return Ok(Arc::new(move || {
            let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }));
    }
    let nodes = selection.named(&[name.to_owned()], &Login::default())?;
    nodes.into_iter().next().map(node).with_context(|| format!("{name} is not there"))
}
