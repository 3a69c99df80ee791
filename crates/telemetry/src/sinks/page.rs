//! The status page: one HTML document that needs nothing from elsewhere.
//!
//! What it says is in the HTML, so that it is there without scripts too; then it reloads itself. With scripts it draws the
//! last five minutes from [`history`](super::json), and stays up to date by [events](super::json::events).

use core::fmt::{self, Write};

use crate::health::Health;
use crate::log_ring::Level;
use crate::net_info::NetInfo;
use crate::rates::Rates;
use crate::sample::{Clock, Sample};
use crate::sinks::Sink;
use crate::snapshot::Snapshot;
use crate::units::{MiB, Micros, Milli, Percent, Si, Uptime, UtcTime};
use crate::workload_status::WorkloadState;

/// The entry of this sink in the table.
pub const SINK: Sink = Sink { name: "page", content_type: "text/html; charset=utf-8", render };

/// Log lines that are shown.
const LOG_LINES: usize = 30;
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Header lines for a browser: nothing but this page's own script and style runs in it, nothing comes from elsewhere, and no
/// other page shows it in a frame. The tests compare the hashes (W3C, "Content Security Policy Level 3", section 2.3.1).
pub const HEADERS: &str = "Content-Security-Policy: default-src 'none'; \
    script-src 'sha256-feCpxfn7Irj9ladBHaS525pJs53Q+FKO3cglB3WQCl8='; \
    style-src 'sha256-jsWWb7mkDpWN/arftdR5QmmQLejW/NIKSlk7Ah4WSv4='; \
    connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
    Referrer-Policy: no-referrer\r\n\
    X-Frame-Options: DENY\r\n";

/// Writes the page.
///
/// # Errors
///
/// Passes on the error of `out`.
pub fn render(snapshot: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let rates = snapshot.history.rates();
    let name = Html(&snapshot.node.name);
    // Other cores may write lines meanwhile; the script goes on here.
    let log_end = snapshot.log.cursor_at_last(0).number();
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <noscript><meta http-equiv=\"refresh\" content=\"5\"></noscript>\
         <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head><body data-next=\"{}\">\n<header><h1>{name}</h1>\
         <p class=\"dim\">{} &middot; up <b id=\"up\">{}</b></p>",
        log_end,
        Html(&snapshot.node.board),
        Uptime(snapshot.sample.at_us),
    )?;
    badges(snapshot, out)?;
    out.write_str("</header>\n<main>\n")?;
    plots(snapshot, rates.as_ref(), out)?;
    workloads(snapshot, rates.as_ref(), out)?;
    node(snapshot, out)?;
    network(snapshot, out)?;
    log(snapshot, log_end, out)?;
    writeln!(
        out,
        "</main><footer><a href=\"/metrics\">/metrics</a><a href=\"/api/v1\">/api/v1</a><a href=\"/certify\">/certify</a>\
         <a href=\"/health\">/health</a><span>{} {}</span></footer>\n<script>{SCRIPT}</script></body></html>",
        snapshot.node.version,
        Html(snapshot.node.build)
    )
}

/// How the hardware is, and what can't be done here.
fn badges(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let unknown =
        if s.node.is_emulated { "emulated: hardware not judged" } else { "the firmware does not tell how the hardware is" };
    let Health { sick, .. } = s.sample.health;
    let class = match s.sample.health.is_valid() {
        Some(true) => "ok",
        Some(false) => "bad",
        None => "dim",
    };
    write!(out, "<span id=\"health\" class=\"chip {class}\" data-unknown=\"{unknown}\">")?;
    match s.sample.health.is_valid() {
        Some(true) => out.write_str("hardware is well")?,
        None => out.write_str(unknown)?,
        Some(false) => {
            out.write_str("sick:")?;
            sick.iter().try_for_each(|reason| write!(out, " {}", reason.name()))?;
        }
    }
    out.write_str("</span>")?;
    if s.node.access.is_read_only() {
        out.write_str("<span class=\"chip\">read-only</span>")?;
    }
    let hidden = if s.faults.active().next().is_none() { " hidden" } else { "" };
    write!(out, "<span id=\"faults\" class=\"chip bad\"{hidden}>")?;
    write!(out, "{}", Html(s.faults.line()))?;
    out.write_str("</span>")?;
    out.write_str("<span id=\"live\" class=\"chip dim\">as of this page</span>")
}

/// The four plots, each with its figures of now.
fn plots(s: &Snapshot<'_>, rates: Option<&Rates>, out: &mut dyn Write) -> fmt::Result {
    begin_plot(out, "Cores")?;
    for (core, permille) in rates.map(|r| r.busy_permille).unwrap_or_default().into_iter().enumerate() {
        let percent = fmt::from_fn(|f| match permille {
            Some(permille) => write!(f, "{}", Percent(permille)),
            None => f.write_str("–"),
        });
        key(out, core, format_args!("core {core}"), format_args!("cpu{core}"), &percent)?;
    }
    end_plot(out, "cpu")?;
    begin_plot(out, "Network")?;
    let bits = |bytes: u64| Si(bytes.saturating_mul(8));
    for (color, what, id, bytes) in
        [(0, "receive", "rx", rates.map(|r| r.rx_bytes)), (1, "send", "tx", rates.map(|r| r.tx_bytes))]
    {
        key(out, color, format_args!("{what}"), format_args!("{id}"), &format_args!("{}bit/s", bits(bytes.unwrap_or(0))))?;
    }
    end_plot(out, "net")?;
    begin_plot(out, "Operations")?;
    for (status, ..) in s.workloads() {
        let rate = rates.map(|rates| rates.workload(status)).unwrap_or_default();
        let id = format_args!("ops{}", status.slot);
        key(out, status.slot, format_args!("{}", Html(&status.id)), id, &format_args!("{}/s", Si(rate.operations)))?;
    }
    end_plot(out, "ops")?;
    begin_plot(out, "Temperature")?;
    if let Some(mc) = s.sample.temperature_mc {
        key(out, 0, format_args!("SoC"), format_args!("temp"), &format_args!("{} °C", Milli(mc)))?;
    }
    end_plot(out, "heat")
}

fn begin_plot(out: &mut dyn Write, title: &str) -> fmt::Result {
    write!(out, "<section><div class=\"head\"><h2>{title}</h2>")
}

fn end_plot(out: &mut dyn Write, id: &str) -> fmt::Result {
    writeln!(
        out,
        "</div><div class=\"plot\" id=\"{id}\"><small></small><small></small>\
         <svg viewBox=\"0 0 300 100\" preserveAspectRatio=\"none\" aria-hidden=\"true\"></svg>\
         <div class=\"axis\"><small>5 min ago</small><small>now</small></div></div></section>"
    )
}

fn key(
    out: &mut dyn Write,
    color: usize,
    name: fmt::Arguments<'_>,
    id: fmt::Arguments<'_>,
    value: &dyn fmt::Display,
) -> fmt::Result {
    write!(out, "<span class=\"key c{}\">{name} <b id=\"{id}\">{value}</b></span>", color % 4)
}

fn node(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let memory = &s.sample.memory;
    out.write_str("<section><h2>Node</h2><dl>")?;
    item(out, "board", "", format_args!("{} ({}, {:06x})", s.node.board, s.node.soc, s.node.revision))?;
    item(out, "serial", "", format_args!("{}", s.node.serial()))?;
    item(out, "access", "", format_args!("{}", s.node.access))?;
    match s.sample.unix_us {
        Some(us) => item(out, "time", "time", format_args!("{} UTC", UtcTime(us)))?,
        None => item(out, "time", "time", format_args!("not known"))?,
    }
    item(out, "memory", "mem", format_args!("{} of {} MB used", MiB(memory.used()), MiB(memory.total)))?;
    if let Some(hz) = s.sample.clock_hz(Clock::Arm) {
        item(out, "clock", "arm", format_args!("{}Hz", Si(hz.into())))?;
    }
    for reason in crate::health::Reason::ALL.into_iter().filter(|reason| s.health.count(*reason) > 0) {
        let seconds = s.health.count(reason);
        item(out, "was sick", "", format_args!("{} in {seconds} samples since boot", reason.name()))?;
    }
    if s.past.boots > 0 {
        item(out, "boots", "", format_args!("{}; last reset: {}", s.past.boots, s.past.reset))?;
    }
    for crash in s.crashes.iter().filter(|c| c.count > 0) {
        write!(out, "<dt>crashes</dt><dd class=\"bad\">{} {}</dd>", crash.count, Html(crash.what))?;
    }
    out.write_str("</dl></section>\n")
}

fn network(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    out.write_str("<section><h2>Addresses</h2><dl>")?;
    addresses(s.net, s.sample, out)?;
    let nic = &s.sample.nic;
    item(out, "total", "total", format_args!("{}B in, {}B out", Si(nic.rx_bytes), Si(nic.tx_bytes)))?;
    let lost = [nic.rx_errors, nic.rx_dropped, nic.tx_errors, nic.tx_dropped];
    if lost.iter().any(|n| *n > 0) {
        let [rx_errors, rx_dropped, tx_errors, tx_dropped] = lost;
        let lost =
            format_args!("in {rx_errors} errors {rx_dropped} dropped, out {tx_errors} errors {tx_dropped} dropped");
        item(out, "lost", "", lost)?;
    }
    out.write_str("</dl></section>\n")
}

fn addresses(net: &NetInfo, sample: &Sample, out: &mut dyn Write) -> fmt::Result {
    item(out, "link", "", format_args!("{} {}", net.driver.unwrap_or(net.device), net.link))?;
    item(out, "MAC", "", format_args!("{}", net.mac()))?;
    match &net.ipv4 {
        Some(ipv4) => item(out, "IPv4", "", format_args!("{}/{} ({})", ipv4.address, ipv4.prefix_len, ipv4.source))?,
        None => item(out, "IPv4", "", format_args!("none yet"))?,
    }
    if let Some(gateway) = net.ipv4.and_then(|ipv4| ipv4.gateway) {
        item(out, "gateway", "", format_args!("{gateway}"))?;
    }
    if let Some(lease) = &net.lease {
        item(out, "lease", "", format_args!("{} s left, from {}", lease.left_s(sample.at_us), lease.server))?;
    }
    net.ipv6.iter().try_for_each(|(address, len)| item(out, "IPv6", "", format_args!("{address}/{len}")))
}

fn workloads(s: &Snapshot<'_>, rates: Option<&Rates>, out: &mut dyn Write) -> fmt::Result {
    out.write_str(
        "<section class=\"wide\"><h2>Workloads</h2><div class=\"scroll\"><table><thead><tr><th>core</th><th>id</th><th>workload</th>\
         <th>state</th><th class=\"n\">busy</th><th class=\"n\">operations</th><th class=\"n\">per s</th>\
         <th class=\"n\">bytes/s</th><th class=\"n\">errors</th><th class=\"n\">p50</th><th class=\"n\">p99</th></tr></thead>\
         <tbody id=\"workloads\">",
    )?;
    for (status, counts, durations) in s.workloads() {
        let bad = matches!(status.state, WorkloadState::Failed | WorkloadState::Stalled);
        write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td{}>{}",
            status.core,
            Html(&status.id),
            Html(&status.spec),
            if bad { " class=\"bad\"" } else { "" },
            status.state
        )?;
        if !status.reason.is_empty() {
            write!(out, ": {}", Html(&status.reason))?;
        }
        if !s.health.since(status.started_us).is_empty() {
            out.write_str(" (while sick)")?;
        }
        out.write_str("</td>")?;
        let w = rates.map(|rates| rates.workload(status)).unwrap_or_default();
        let figures: [&dyn fmt::Display; 5] =
            [&Percent(w.busy_permille), &Si(counts.operations), &Si(w.operations), &Si(w.bytes), &counts.errors];
        figures.iter().try_for_each(|figure| write!(out, "<td class=\"n\">{figure}</td>"))?;
        match durations.summary() {
            Some(d) => [d.p50_us, d.p99_us].iter().try_for_each(|us| write!(out, "<td class=\"n\">{}</td>", Micros(*us)))?,
            None => out.write_str("<td></td><td></td>")?,
        }
        out.write_str("</tr>")?;
    }
    out.write_str("</tbody></table></div></section>\n")
}

/// Writes the last lines in front of line `end`.
fn log(s: &Snapshot<'_>, end: u64, out: &mut dyn Write) -> fmt::Result {
    out.write_str("<section class=\"wide\"><h2>Log</h2><pre id=\"log\">")?;
    let mut cursor = s.log.cursor_at_last(LOG_LINES);
    while cursor.number() < end {
        let Some((_, line)) = s.log.next_line(&mut cursor) else { break };
        if line.level <= Level::Warn {
            writeln!(out, "<span class=\"bad\">{}</span>", Html(line))?;
        } else {
            writeln!(out, "{}", Html(line))?;
        }
    }
    out.write_str("</pre></section>\n")
}

/// Writes a term and its value; one with an `id` is kept up to date.
fn item(out: &mut dyn Write, name: &str, id: &str, value: fmt::Arguments<'_>) -> fmt::Result {
    write!(out, "<dt>{name}</dt><dd")?;
    if !id.is_empty() {
        write!(out, " id=\"{id}\"")?;
    }
    write!(out, ">{}</dd>", Html(value))
}

/// Shows a value as text inside HTML, whatever characters it has.
struct Html<T>(T);

impl<T: fmt::Display> fmt::Display for Html<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escaped<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escaped<'_, '_> {
            fn write_str(&mut self, s: &str) -> fmt::Result {
                for c in s.chars() {
                    match c {
                        '&' => self.0.write_str("&amp;")?,
                        '<' => self.0.write_str("&lt;")?,
                        '>' => self.0.write_str("&gt;")?,
                        '"' => self.0.write_str("&quot;")?,
                        '\'' => self.0.write_str("&#39;")?,
                        c => self.0.write_char(c)?,
                    }
                }
                Ok(())
            }
        }
        write!(Escaped(f), "{}", self.0)
    }
}
