//! `top`: the node's figures, drawn again and again.

use core::fmt::{self, Write};

use telemetry::Snapshot;
use telemetry::units::{MiB, Milli, Si, Uptime};

use super::{Command, Next, View, look, never, offer_nothing};
use crate::node::Node;

/// Columns of a core's bar.
const BAR: u16 = 40;

pub(super) const COMMAND: Command = Command {
    name: "top",
    usage: &["[SECONDS]"],
    help: "shows cores, network and workloads until a key is pressed",
    changes: never,
    run: |mut arguments, _, _| {
        let seconds = arguments.number("SECONDS", 1, 3600, 1)?;
        arguments.end()?;
        Ok(Next::View(View::Top { interval_us: seconds * 1_000_000 }))
    },
    offer: offer_nothing,
};

/// Draws the screen over the one before, or below it where there is no terminal.
pub(super) fn draw(has_screen: bool, node: &dyn Node, out: &mut dyn Write) -> fmt::Result {
    if !has_screen {
        look(node, |snapshot| write_screen(snapshot, out))?;
        return out.write_str("\n");
    }
    // To the top left; each line clears what is left of the old one, and the end clears the rest.
    out.write_str("\x1b[H")?;
    look(node, |snapshot| write_screen(snapshot, &mut Lines(out)))?;
    out.write_str("\x1b[J")
}

fn write_screen(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let sample = s.sample;
    let rates = s.history.rates().unwrap_or_default();
    write!(out, "{}  up {}  mem {}/{} MB", s.node.name, Uptime(sample.at_us), MiB(sample.memory.used()), MiB(sample.memory.total))?;
    if let Some(mc) = sample.temperature_mc {
        write!(out, "  {} C", Milli(mc))?;
    }
    out.write_str("  (any key ends)\n\n")?;
    for (core, permille) in rates.busy_permille.iter().enumerate() {
        write!(out, "core {core} [")?;
        let filled = u32::from(permille.unwrap_or(0)) * u32::from(BAR) / 1000;
        for column in 0..u32::from(BAR) {
            out.write_char(if column < filled { '#' } else { ' ' })?;
        }
        match permille {
            Some(permille) => writeln!(out, "] {:3}.{}%", permille / 10, permille % 10)?,
            None => out.write_str("]   -\n")?,
        }
    }
    let bits = |bytes: u64| Si(bytes.saturating_mul(8));
    writeln!(out, "\nreceive {}bit/s {} frames/s", bits(rates.rx_bytes), Si(rates.rx_frames))?;
    writeln!(out, "send    {}bit/s {} frames/s", bits(rates.tx_bytes), Si(rates.tx_frames))?;
    if let Some(interrupts) = rates.interrupts {
        writeln!(out, "interrupts {}/s", Si(interrupts))?;
    }
    super::status::write_health(s, out)?;
    out.write_str("\n")?;
    super::workload::write_list(s, out)
}

/// Clears the rest of each line before its end.
struct Lines<'a>(&'a mut dyn Write);

impl Write for Lines<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive('\n') {
            match part.strip_suffix('\n') {
                Some(line) => {
                    self.0.write_str(line)?;
                    self.0.write_str("\x1b[K\n")?;
                }
                None => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}
