//! What to make of what was found. Every limit says where it comes from.

use core::fmt::{self, Write};

use embassy_time::Duration;
use heapless::String;
use telemetry::certificate::{Finding, Outcome, Subject};
use telemetry::net_info::Link;
use telemetry::sample::{NicCounts, Throttled};
use telemetry::units::{MiB, Micros, Milli, Si};

use super::board::Seen;
use super::record::{Cores, running_cores};
use crate::core_set::CoreSet;
use crate::env::TimeReading;

/// From here on the firmware slows the cores down (Raspberry Pi documentation, "Frequency management and thermal control").
const TOO_HOT_MC: i32 = 80_000;
/// Drivers and network should have a turn at least that often, or peers begin to repeat themselves (the first retransmission of
/// TCP comes after a second: RFC 6298, section 2.1).
const TOO_SLOW: Duration = Duration::from_secs(1);
/// A crystal of a few cents keeps 50 ppm (the 19.2 and 54 MHz ones of the boards are of that kind); twice that is a fault.
const DRIFT_PPM_MAX: u64 = 100;
/// Of a hundred echoes, one may be lost.
const LOST_PERCENT_MAX: u32 = 1;
/// Of the bits about power: a 3B+ begins to slow down at 60 °C by design, which the soft temperature limit tells.
const NO_FAULT: u32 = 1 << 3 | 1 << 19;

/// Judges every subject, in the order of [`Subject::ALL`].
pub(crate) fn findings(cores: &Cores, seen: &Seen, speed_mbps: u64) -> [Finding; Subject::ALL.len()] {
    Subject::ALL.map(|subject| match subject {
        Subject::Cores => judge_cores(cores, seen),
        Subject::Core0 => judge_core0(seen),
        Subject::Memory => judge_memory(cores, seen),
        Subject::Link => judge_link(seen, speed_mbps),
        Subject::Frames => judge_frames(seen),
        Subject::Temperature => judge_temperature(seen),
        Subject::Power => judge_power(seen),
        Subject::Clock => judge_clock(seen),
    })
}

/// Returns when a test began, in µs since 1970, if a time server told the time meanwhile.
pub(crate) fn started(seen: &Seen, started_us: u64) -> Option<u64> {
    let sample = seen.last.as_ref()?.sample;
    sample.boot_unix_us().map(|boot| boot + started_us)
}

macro_rules! pass {
    ($($text:tt)*) => { Finding::new(Outcome::Passed, format_args!($($text)*)) };
}
macro_rules! fail {
    ($($text:tt)*) => { Finding::new(Outcome::Failed, format_args!($($text)*)) };
}
macro_rules! not_checked {
    ($($text:tt)*) => { Finding::new(Outcome::NotChecked, format_args!($($text)*)) };
}

fn judge_cores(cores: &Cores, seen: &Seen) -> Finding {
    for (core, result) in cores.iter().enumerate() {
        let Some(result) = result else { continue };
        let computed = result.computed;
        if computed.wrong > 0 {
            let first = computed.first.unwrap_or_default();
            return fail!("core {core}: {} of {} rounds wrong, the first in {first}", computed.wrong, computed.rounds);
        }
        if !result.is_done {
            return fail!("core {core} did not come to its end");
        }
    }
    let mut up = CoreSet::EMPTY;
    if let Some(last) = &seen.last {
        running_cores(&last.sample).for_each(|core| up.insert(core as u8));
        if let Some(dead) = CoreSet::ALL.iter().find(|core| !up.contains(*core)) {
            return fail!("core {dead} does not run");
        }
    }
    let is_tested =
        |core: u8| cores.get(usize::from(core)).is_some_and(|c| c.as_ref().is_some_and(|c| c.computed.rounds > 0));
    let mut tested = CoreSet::EMPTY;
    CoreSet::ALL.iter().filter(|core| is_tested(*core)).for_each(|core| tested.insert(core));
    let rounds: u64 = cores.iter().flatten().map(|core| core.computed.rounds).sum();
    let clock = fmt::from_fn(|f| match seen.arm_hz {
        Some((least, most)) if least != most => write!(f, " at {}Hz to {}Hz", Si(least.into()), Si(most.into())),
        Some((hz, _)) => write!(f, " at {}Hz", Si(hz.into())),
        None => Ok(()),
    });
    if tested != CoreSet::ALL {
        return not_checked!("core {tested}{clock}: {rounds} rounds, all right; the other cores took no part");
    }
    pass!(
        "core {tested}{clock}: {rounds} rounds of integers, floating point, CRC-32, matrices and divisions, all right"
    )
}

fn judge_core0(seen: &Seen) -> Finding {
    if seen.silences > 0 {
        return fail!("{} times no answer within 2 s", seen.silences);
    }
    if seen.last.is_none() {
        return not_checked!("it tells nothing of itself");
    }
    let slowest = Micros(seen.slowest.as_micros());
    if seen.slowest > TOO_SLOW {
        return fail!("an answer took {slowest}, at most {} is allowed", Micros(TOO_SLOW.as_micros()));
    }
    pass!("answered within {slowest} under load")
}

fn judge_memory(cores: &Cores, seen: &Seen) -> Finding {
    let (mut start, mut end, mut passes, mut bytes) = (u64::MAX, 0, u64::MAX, 0);
    for (core, result) in cores.iter().enumerate() {
        let Some(result) = result else { continue };
        let tested = &result.tested;
        if let Some(fault) = tested.first {
            let bits = (fault.written ^ fault.read).count_ones();
            let (address, written, read) = (fault.address, fault.written, fault.read);
            return fail!(
                "core {core}: {} words wrong, the first at {address:#x}: wrote {written:016x}, read {read:016x} ({bits} bits)",
                tested.wrong
            );
        }
        start = start.min(tested.span.start);
        end = end.max(tested.span.end);
        passes = passes.min(tested.passes);
        bytes += tested.bytes;
    }
    if passes == 0 || bytes == 0 {
        return not_checked!("not once written and read back: the test was too short");
    }
    let total = seen.last.as_ref().map_or(0, |last| last.sample.memory.total);
    pass!(
        "{} of {} MiB ({start:#x} to {end:#x}) written and read back {passes} times or more, all right; the rest was not tested",
        MiB(bytes),
        MiB(total)
    )
}

fn judge_link(seen: &Seen, wanted_mbps: u64) -> Finding {
    let Some(last) = &seen.last else { return not_checked!("core 0 tells nothing of it") };
    let (net, now) = (&last.net, last.sample.nic);
    let Some(since) = seen.link_since else {
        return match net.link {
            _ if now.carrier_changes > 0 => fail!("the link was never up for long: the cable, or the other end"),
            Link::Absent => fail!("no network controller was found"),
            _ => fail!("no link the whole time: is a cable plugged in, and the other end on?"),
        };
    };
    let changes = now.carrier_changes.saturating_sub(since.nic.carrier_changes);
    if seen.was_down || changes > 0 || !net.link.is_up() {
        return fail!("the link went down ({changes} changes): the cable, or the power of the other end");
    }
    let driver = net.driver.unwrap_or("unknown controller");
    match net.link {
        Link::Up { is_full_duplex: Some(false), .. } => fail!("{}: one end is set to half duplex", net.link),
        Link::Up { speed_mbps: Some(mbps), .. } if u64::from(mbps) < wanted_mbps => {
            fail!("{}, wanted {wanted_mbps} Mbit/s: the cable, or the other end", net.link)
        }
        Link::Up { speed_mbps: None, .. } if wanted_mbps > 0 => {
            not_checked!("{}: {driver} does not tell the speed, wanted {wanted_mbps} Mbit/s", net.link)
        }
        Link::Up { speed_mbps: Some(mbps), .. } if mbps < most_mbps(driver) => {
            pass!("{} ({driver}, which can do {} Mbit/s)", net.link, most_mbps(driver))
        }
        _ => pass!("{} ({driver}), steady", net.link),
    }
}

/// Returns what a controller can do, if that is known.
fn most_mbps(driver: &str) -> u32 {
    match driver {
        "lan78xx" | "genet" => 1_000,
        "lan95xx" => 100,
        _ => 0,
    }
}

fn judge_frames(seen: &Seen) -> Finding {
    let (Some(last), Some(since)) = (&seen.last, seen.link_since) else { return not_checked!("there was no link") };
    let NicCounts { rx_frames, rx_errors, rx_dropped, tx_frames, tx_errors, tx_dropped, restarts, .. } =
        difference(&last.sample.nic, &since.nic);
    if rx_errors + tx_errors + restarts > 0 {
        return fail!(
            "{rx_errors} of {rx_frames} received and {tx_errors} of {tx_frames} sent had errors, {restarts} restarts"
        );
    }
    let lost = seen.asked - seen.answered;
    let echoes = fmt::from_fn(|f| match seen.gateway {
        Some(gateway) if seen.answered > 0 => write!(f, ", {} of {} echoes of {gateway}", seen.answered, seen.asked),
        Some(gateway) => write!(f, ", {gateway} answers no echoes"),
        None => f.write_str(", no gateway to ask for echoes"),
    });
    // A gateway that never answers does so on purpose. The last echo may be lost to the end of the test.
    if seen.answered > 0 && lost > 1 + seen.asked * LOST_PERCENT_MAX / 100 {
        return fail!("frames are lost{echoes}");
    }
    if rx_frames == 0 {
        return not_checked!("none arrived: is anybody else on this network?");
    }
    pass!("{rx_frames} received, {tx_frames} sent, no errors, {} dropped{echoes}", rx_dropped + tx_dropped)
}

fn difference(now: &NicCounts, since: &NicCounts) -> NicCounts {
    let less = u64::saturating_sub;
    NicCounts {
        rx_frames: less(now.rx_frames, since.rx_frames),
        rx_errors: less(now.rx_errors, since.rx_errors),
        rx_dropped: less(now.rx_dropped, since.rx_dropped),
        tx_frames: less(now.tx_frames, since.tx_frames),
        tx_errors: less(now.tx_errors, since.tx_errors),
        tx_dropped: less(now.tx_dropped, since.tx_dropped),
        restarts: less(now.restarts, since.restarts),
        ..NicCounts::EMPTY
    }
}

fn judge_temperature(seen: &Seen) -> Finding {
    match seen.temperature_mc {
        None => not_checked!("the firmware does not tell it"),
        Some((_, most)) if most >= TOO_HOT_MC => {
            fail!(
                "{} C under load: it needs a heat sink or a fan, from {} C on it is slowed down",
                Milli(most),
                Milli(TOO_HOT_MC)
            )
        }
        Some((least, most)) => pass!("{} to {} C under load, below {} C", Milli(least), Milli(most), Milli(TOO_HOT_MC)),
    }
}

fn judge_power(seen: &Seen) -> Finding {
    let Some(bits) = seen.throttled else { return not_checked!("the firmware does not tell") };
    let mut list: String<80> = String::new();
    for (name, is_now, was) in Throttled(bits & !NO_FAULT).conditions() {
        if is_now || was {
            // Four names fit.
            let _ = write!(
                list,
                "{}{name} {}",
                if list.is_empty() { "" } else { ", " },
                if is_now { "in the test" } else { "since boot" }
            );
        }
    }
    if !list.is_empty() {
        return fail!("{list}: a stronger power supply, a thicker cable, or cooling");
    }
    let limited = if bits & NO_FAULT != 0 { "; slowed down from 60 C on, as a 3B+ is by design" } else { "" };
    pass!("no under-voltage, nothing held back since boot{limited}")
}

fn judge_clock(seen: &Seen) -> Finding {
    let Some((first, last)) = seen.time else {
        return match seen.time_failure {
            Some(failure) => not_checked!("{failure}"),
            None => not_checked!("the network came up too late to ask a time server twice"),
        };
    };
    let Some((drift, error)) = drift_ppm(&first, &last) else { return not_checked!("both answers came at once") };
    if drift.unsigned_abs() > DRIFT_PPM_MAX + error {
        return fail!(
            "{drift} ppm against the time server (give or take {error}), at most {DRIFT_PPM_MAX} are allowed"
        );
    }
    if error > DRIFT_PPM_MAX {
        return not_checked!(
            "the way to the time server is too slow for so short a test: {drift} ppm, give or take {error}"
        );
    }
    pass!("{drift} ppm against the time server, give or take {error}")
}

/// Returns by how much the node's clock is slow (positive) or fast, and how uncertain that is, in parts per million.
fn drift_ppm(first: &TimeReading, last: &TimeReading) -> Option<(i64, u64)> {
    let span_us = last.at.checked_duration_since(first.at)?.as_micros();
    let server_us = last.unix_us.checked_signed_diff(first.unix_us)?;
    let ahead_us = server_us.checked_sub_unsigned(span_us)?;
    let drift = ahead_us.checked_mul(1_000_000)?.checked_div(i64::try_from(span_us).ok()?)?;
    let error = (first.error_us + last.error_us).checked_mul(1_000_000)?.div_ceil(span_us);
    Some((drift, error))
}

#[cfg(test)]
mod tests;
