//! `down`: ends a rack, also one whose supervisor has crashed or hangs.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::place::{Place, RackName};
use super::protocol::{self, Request};
use crate::progress::say;

/// How long a supervisor that has answered, or was killed, may take to be gone.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Which racks are ended.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// The rack.
    #[arg(long, value_name = "NAME", default_value_t)]
    rack: RackName,
    /// All racks of this user.
    #[arg(long, conflicts_with = "rack")]
    all: bool,
}

/// Ends racks. Nothing to end is no error.
pub(crate) fn down(options: &Options) -> Result<ExitCode> {
    if options.all {
        let places = Place::all()?;
        if places.is_empty() {
            say("no rack is up");
        }
        places.iter().try_for_each(end)?;
    } else {
        end(&Place::of(&options.rack)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn end(place: &Place) -> Result<()> {
    let name = place.name();
    let pid = protocol::status(place).ok().flatten().map(|status| status.pid);
    let answer = protocol::ask(place, &Request::Down);
    if matches!(answer, Ok(Some(_))) {
        say(&format!("rack {name} is down"));
    } else if let (Err(_), Some(pid)) = (answer, pid) {
        // It lives and does not obey.
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
        say(&format!("rack {name} did not end by itself and was killed"));
    } else if !place.exists() {
        say(&format!("rack {name} is not up"));
        return Ok(());
    } else {
        say(&format!("rack {name} had crashed; what was left of it is removed"));
    }
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        if place.lock()?.map(|_lock| place.clear()).transpose()?.is_some() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("somebody still holds rack {name}: is another `up` starting it?");
        }
        thread::sleep(Duration::from_millis(20));
    }
}
