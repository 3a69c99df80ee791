//! INFO and CONFIG GET.

use heapless::String;
use resp::IntegerText;

use super::{Call, pattern};
use crate::builtin::kv::value::Refusal;

/// Room for all lines.
type Text = String<2048>;

/// `INFO [section]`: always all of it, because it is short.
pub(super) fn info(call: &mut Call<'_>) -> Result<(), Refusal> {
    let mut text = Text::new();
    let (store, facts) = (&*call.store, &*call.facts);
    title(&mut text, "# Server\r\n");
    line(&mut text, "redis_mode", "standalone");
    line(&mut text, "minipirack_version", env!("CARGO_PKG_VERSION"));
    number(&mut text, "tcp_port", u64::from(facts.port));
    number(&mut text, "uptime_in_seconds", store.now_ms().saturating_sub(facts.started_ms) / 1000);
    title(&mut text, "\r\n# Clients\r\n");
    number(&mut text, "connected_clients", facts.clients as u64);
    number(&mut text, "maxclients", facts.clients_max as u64);
    title(&mut text, "\r\n# Memory\r\n");
    number(&mut text, "used_memory", store.used_bytes() as u64);
    number(&mut text, "maxmemory", store.limit_bytes() as u64);
    line(&mut text, "maxmemory_policy", "noeviction");
    title(&mut text, "\r\n# Stats\r\n");
    number(&mut text, "total_connections_received", facts.connections);
    number(&mut text, "total_commands_processed", facts.commands);
    number(&mut text, "total_error_replies", facts.refusals + facts.protocol_errors);
    number(&mut text, "client_output_buffer_limit_disconnections", facts.cut_off);
    number(&mut text, "expired_keys", store.counts.expired);
    number(&mut text, "keyspace_hits", store.counts.hits);
    number(&mut text, "keyspace_misses", store.counts.misses);
    title(&mut text, "\r\n# Replication\r\n");
    match facts.replica {
        None => line(&mut text, "role", "master"),
        Some(replica) => {
            line(&mut text, "role", "slave");
            line(&mut text, "master_link_status", if replica.is_up { "up" } else { "down" });
            number(&mut text, "master_sync_in_progress", u64::from(replica.is_up && !replica.is_copied));
            number(&mut text, "slave_repl_offset", replica.offset);
            number(&mut text, "slave_lag_bytes", replica.lag_bytes);
            let silence = store.now_ms().saturating_sub(replica.heard_ms) / 1000;
            number(&mut text, "master_last_io_seconds_ago", silence);
            number(&mut text, "full_copies", replica.copies);
        }
    }
    number(&mut text, "connected_slaves", store.feed.links().count() as u64);
    let lag = store.feed.links().map(|link| link.offset.saturating_sub(link.acknowledged)).max();
    number(&mut text, "slaves_lag_bytes", lag.unwrap_or(0));
    title(&mut text, "\r\n# Keyspace\r\n");
    if store.len() > 0 {
        title(&mut text, "db0:keys=");
        title_number(&mut text, store.len() as u64);
        title(&mut text, ",expires=");
        title_number(&mut text, store.expiring() as u64);
        title(&mut text, ",avg_ttl=0\r\n");
    }
    call.bulk(text.as_bytes())
}

/// `CONFIG GET pattern`: what clients such as redis-benchmark ask for.
pub(super) fn config(call: &mut Call<'_>) -> Result<(), Refusal> {
    if !call.request.is(1, "get") {
        return Err(Refusal::Subcommand);
    }
    let wanted = call.request.bytes(2)?;
    let memory = IntegerText::new(i64::try_from(call.store.limit_bytes()).unwrap_or(i64::MAX));
    let clients = IntegerText::new(i64::try_from(call.facts.clients_max).unwrap_or(i64::MAX));
    let port = IntegerText::new(i64::from(call.facts.port));
    let values: [(&[u8], &[u8]); 8] = [
        (b"appendonly", b"no"),
        (b"databases", b"1"),
        (b"maxclients", clients.as_bytes()),
        (b"maxmemory", memory.as_bytes()),
        (b"maxmemory-policy", b"noeviction"),
        (b"port", port.as_bytes()),
        (b"save", b""),
        (b"timeout", b"0"),
    ];
    let is_wanted = |name: &[u8]| pattern::fits(wanted, name, &mut 10_000) == Some(true);
    call.array(2 * values.iter().filter(|(name, _)| is_wanted(name)).count());
    for (name, value) in values {
        if is_wanted(name) {
            call.bulk(name)?;
            call.bulk(value)?;
        }
    }
    Ok(())
}

fn title(text: &mut Text, title: &str) {
    // There is room for all lines; a test sees to it.
    let _ = text.push_str(title);
}

fn title_number(text: &mut Text, number: u64) {
    let number = IntegerText::new(i64::try_from(number).unwrap_or(i64::MAX));
    title(text, str::from_utf8(number.as_bytes()).unwrap_or_default());
}

fn line(text: &mut Text, name: &str, value: &str) {
    for part in [name, ":", value, "\r\n"] {
        title(text, part);
    }
}

fn number(text: &mut Text, name: &str, value: u64) {
    title(text, name);
    title(text, ":");
    title_number(text, value);
    title(text, "\r\n");
}
