//! The status page: one HTML document that needs nothing from elsewhere and reloads itself.

use core::fmt::{self, Write};

use crate::net_info::NetInfo;
use crate::rates::Rates;
use crate::sample::{Clock, Sample};
use crate::sinks::Sink;
use crate::snapshot::Snapshot;
use crate::units::{MiB, Micros, Milli, Percent, Si, UtcTime, Uptime};
use crate::workload_status::WorkloadState;

/// The entry of this sink in the table.
pub const SINK: Sink = Sink { name: "page", content_type: "text/html; charset=utf-8", render };

/// Log lines that are shown.
const LOG_LINES: usize = 20;
/// Seconds that the curves show.
const CURVE_LEN: usize = 60;

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1c2733;--dim:#66727f;--line:#dfe4ea;--on:#0b7a75;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--bg:#12171d;--card:#1b222b;--ink:#e6ebf0;--dim:#93a0ad;--line:#2c3641;--on:#4fd1c5;--bad:#ff8a80}}\
body{margin:0;padding:1rem;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,sans-serif}\
main{max-width:64rem;margin:auto;display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(19rem,1fr))}\
header,section.wide{grid-column:1/-1}h1{margin:0;font-size:1.5rem}h2{margin:0 0 .5rem;font-size:1rem}\
section{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.8rem 1rem;overflow-x:auto}\
dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem .8rem;margin:0}dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}\
.dim{color:var(--dim)}.bad{color:var(--bad);font-weight:600}\
.bar{display:grid;grid-template-columns:4rem 1fr 3rem;gap:.5rem;align-items:center}.bar b{font-weight:400;text-align:right}\
.bar i{display:block;height:.6rem;border-radius:.3rem;background:var(--line);overflow:hidden}\
.bar u{display:block;height:100%;background:var(--on)}\
svg{display:block;width:100%;height:3rem;margin:.4rem 0}svg path{fill:none;stroke:var(--on);stroke-width:1.5;vector-effect:non-scaling-stroke}\
table{border-collapse:collapse;width:100%}th{text-align:left;color:var(--dim);font-weight:400}td,th{padding:.15rem .8rem .15rem 0;white-space:nowrap}\
td.n,th.n{text-align:right}pre{margin:0;font-size:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}";

/// Writes the page.
///
/// # Errors
///
/// Passes on the error of `out`.
pub fn render(snapshot: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let rates = snapshot.history.rates();
    let name = Html(&snapshot.node.name);
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta http-equiv=\"refresh\" content=\"5\">\
         <link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style></head><body><main>\n\
         <header><h1>{name}</h1><span class=\"dim\">{} &middot; up {}</span></header>\n",
        Html(&snapshot.node.board),
        Uptime(snapshot.sample.at_us),
    )?;
    node(snapshot, out)?;
    cores(snapshot, rates.as_ref(), out)?;
    network(snapshot, rates.as_ref(), out)?;
    workloads(snapshot, rates.as_ref(), out)?;
    log(snapshot, out)?;
    out.write_str("</main></body></html>\n")
}

fn node(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    let memory = &s.sample.memory;
    out.write_str("<section><h2>Node</h2><dl>")?;
    item(out, "board", format_args!("{} ({}, {:06x})", s.node.board, s.node.soc, s.node.revision))?;
    item(out, "serial", format_args!("{}", s.node.serial()))?;
    item(out, "version", format_args!("{} {}", s.node.version, s.node.build))?;
    item(out, "access", format_args!("{}", s.node.access))?;
    match s.sample.unix_us {
        Some(us) => item(out, "time", format_args!("{} UTC", UtcTime(us)))?,
        None => item(out, "time", format_args!("not known"))?,
    }
    item(out, "memory", format_args!("{} of {} MB used", MiB(memory.used()), MiB(memory.total)))?;
    item(out, "heap", format_args!("{} of {} MB, peak {}", MiB(memory.heap.used), MiB(memory.heap.size), MiB(memory.heap.peak)))?;
    if let Some(mc) = s.sample.temperature_mc {
        item(out, "temperature", format_args!("{} °C", Milli(mc)))?;
    }
    if let Some(hz) = s.sample.clock_hz(Clock::Arm) {
        item(out, "clock", format_args!("{}Hz", Si(hz.into())))?;
    }
    if let Some(throttled) = s.sample.throttled {
        out.write_str("<dt>power</dt><dd>")?;
        if throttled.0 == 0 {
            out.write_str("good")?;
        }
        for (name, is_now, is_since_boot) in throttled.conditions() {
            if is_now {
                write!(out, "<span class=\"bad\">{name} now</span> ")?;
            } else if is_since_boot {
                write!(out, "{name} since boot ")?;
            }
        }
        out.write_str("</dd>")?;
    }
    for crash in s.crashes.iter().filter(|c| c.count > 0) {
        write!(out, "<dt>crashes</dt><dd class=\"bad\">{} {}</dd>", crash.count, Html(crash.what))?;
    }
    out.write_str("</dl></section>\n")
}

fn cores(s: &Snapshot<'_>, rates: Option<&Rates>, out: &mut dyn Write) -> fmt::Result {
    out.write_str("<section><h2>Cores</h2>")?;
    let busy = rates.map(|r| r.busy_permille).unwrap_or_default();
    for (core, permille) in busy.iter().enumerate() {
        let percent = permille.map(Percent);
        write!(out, "<div class=\"bar\"><span>core {core}</span><i><u style=\"width:")?;
        match percent {
            Some(percent) => write!(out, "{percent}\"></u></i><b>{percent}</b></div>")?,
            None => out.write_str("0\"></u></i><b>&ndash;</b></div>")?,
        }
    }
    // In thousandths of one core.
    const TOP: u64 = crate::CORES as u64 * 1_000;
    let busy = |r: &Rates| r.busy_permille.iter().flatten().map(|permille| u64::from(*permille)).sum();
    let greatest = curve(s, out, TOP, busy)?;
    writeln!(out, "<span class=\"dim\">all cores, last minute, at most {}%</span>", greatest / 10)?;
    out.write_str("</section>\n")
}

fn network(s: &Snapshot<'_>, rates: Option<&Rates>, out: &mut dyn Write) -> fmt::Result {
    out.write_str("<section><h2>Network</h2><dl>")?;
    addresses(s.net, s.sample, out)?;
    let nic = &s.sample.nic;
    let bits = |bytes: u64| Si(bytes.saturating_mul(8));
    if let Some(r) = rates {
        item(out, "receive", format_args!("{}bit/s, {} frames/s", bits(r.rx_bytes), Si(r.rx_frames)))?;
        item(out, "send", format_args!("{}bit/s, {} frames/s", bits(r.tx_bytes), Si(r.tx_frames)))?;
    }
    item(out, "total", format_args!("{}B in, {}B out", Si(nic.rx_bytes), Si(nic.tx_bytes)))?;
    let lost = [nic.rx_errors, nic.rx_dropped, nic.tx_errors, nic.tx_dropped];
    if lost.iter().any(|n| *n > 0) {
        let [rx_errors, rx_dropped, tx_errors, tx_dropped] = lost;
        item(
            out,
            "lost",
            format_args!("in {rx_errors} errors {rx_dropped} dropped, out {tx_errors} errors {tx_dropped} dropped"),
        )?;
    }
    out.write_str("</dl>")?;
    let greatest = curve(s, out, 0, |r| r.rx_bytes)?;
    writeln!(out, "<span class=\"dim\">received, last minute, at most {}bit/s</span>", bits(greatest))?;
    let greatest = curve(s, out, 0, |r| r.tx_bytes)?;
    writeln!(out, "<span class=\"dim\">sent, last minute, at most {}bit/s</span>", bits(greatest))?;
    out.write_str("</section>\n")
}

fn addresses(net: &NetInfo, sample: &Sample, out: &mut dyn Write) -> fmt::Result {
    item(out, "link", format_args!("{} {}", net.driver.unwrap_or(net.device), net.link))?;
    item(out, "MAC", format_args!("{}", net.mac()))?;
    match &net.ipv4 {
        Some(ipv4) => item(out, "IPv4", format_args!("{}/{} ({})", ipv4.address, ipv4.prefix_len, ipv4.source))?,
        None => item(out, "IPv4", format_args!("none yet"))?,
    }
    if let Some(gateway) = net.ipv4.and_then(|ipv4| ipv4.gateway) {
        item(out, "gateway", format_args!("{gateway}"))?;
    }
    if let Some(lease) = &net.lease {
        item(out, "lease", format_args!("{} s left, from {}", lease.left_s(sample.at_us), lease.server))?;
    }
    net.ipv6.iter().try_for_each(|(address, prefix_len)| item(out, "IPv6", format_args!("{address}/{prefix_len}")))
}

fn workloads(s: &Snapshot<'_>, rates: Option<&Rates>, out: &mut dyn Write) -> fmt::Result {
    out.write_str(
        "<section class=\"wide\"><h2>Workloads</h2><table><tr><th>core<th>id<th>workload<th>state<th class=\"n\">busy\
         <th class=\"n\">operations<th class=\"n\">per s<th class=\"n\">bytes/s<th class=\"n\">errors\
         <th class=\"n\">p50<th class=\"n\">p99</tr>",
    )?;
    for (status, counts, durations) in s.workloads() {
        let bad = matches!(status.state, WorkloadState::Failed | WorkloadState::Stalled);
        write!(
            out,
            "<tr><td>{}<td>{}<td>{}<td{}>{}",
            status.core,
            Html(&status.id),
            Html(&status.spec),
            if bad { " class=\"bad\"" } else { "" },
            status.state
        )?;
        if !status.reason.is_empty() {
            write!(out, ": {}", Html(&status.reason))?;
        }
        let w = rates.map(|rates| rates.workload(status)).unwrap_or_default();
        write!(
            out,
            "<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{}",
            Percent(w.busy_permille),
            Si(counts.operations),
            Si(w.operations),
            Si(w.bytes),
            counts.errors
        )?;
        match durations.summary() {
            Some(d) => write!(out, "<td class=\"n\">{}<td class=\"n\">{}</tr>", Micros(d.p50_us), Micros(d.p99_us))?,
            None => out.write_str("<td><td></tr>")?,
        }
    }
    out.write_str("</table></section>\n")
}

fn log(s: &Snapshot<'_>, out: &mut dyn Write) -> fmt::Result {
    out.write_str("<section class=\"wide\"><h2>Log</h2><pre>")?;
    let mut cursor = s.log.cursor_at_last(LOG_LINES);
    while let Some((_, line)) = s.log.next_line(&mut cursor) {
        writeln!(out, "{}", Html(line))?;
    }
    out.write_str(
        "</pre></section>\n<section class=\"wide dim\">Metrics for Prometheus: <a href=\"/metrics\">/metrics</a></section>\n",
    )
}

fn item(out: &mut dyn Write, name: &str, value: fmt::Arguments<'_>) -> fmt::Result {
    write!(out, "<dt>{name}</dt><dd>{}</dd>", Html(value))
}

/// Writes a curve of the last minute, newest at the right, and returns its greatest value. `top` is the value at its upper
/// edge, 0 for the greatest.
fn curve(
    s: &Snapshot<'_>,
    out: &mut dyn Write,
    top: u64,
    value: impl Fn(&Rates) -> u64,
) -> Result<u64, fmt::Error> {
    const HEIGHT: u64 = 100;
    let mut values = [0; CURVE_LEN];
    let mut count = 0;
    for (slot, rates) in values.iter_mut().zip(s.history.last_rates(CURVE_LEN)) {
        *slot = value(&rates);
        count += 1;
    }
    let values = values.get(..count).unwrap_or_default();
    let Some(greatest) = values.iter().copied().max().filter(|_| count > 1) else { return Ok(0) };
    let top = if top == 0 { greatest } else { top }.max(1);
    write!(
        out,
        "<svg viewBox=\"0 0 {} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><path d=\"",
        CURVE_LEN - 1
    )?;
    for (i, value) in values.iter().enumerate() {
        // In 128 bits: a value times the height may not fit in 64.
        let y = HEIGHT - (u128::from((*value).min(top)) * u128::from(HEIGHT) / u128::from(top)) as u64;
        write!(out, "{}{} {y}", if i == 0 { 'M' } else { 'L' }, CURVE_LEN - count + i)?;
    }
    out.write_str("\"/></svg>")?;
    Ok(greatest)
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
