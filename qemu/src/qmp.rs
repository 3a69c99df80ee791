//! QEMU's machine protocol (QMP): JSON commands over a socket, one answer each, with events in between.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Longest that QEMU takes for an answer or an expected event; observed: a few milliseconds.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to a running QEMU.
#[derive(Debug)]
pub struct Qmp {
    connection: Mutex<Connection>,
}

#[derive(Debug)]
struct Connection {
    reader: BufReader<UnixStream>,
    events: Vec<Value>,
}

impl Qmp {
    /// Takes up the conversation on a socket that QEMU just connected to.
    ///
    /// # Errors
    /// When QEMU does not greet.
    pub fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut connection = Connection { reader: BufReader::new(stream), events: Vec::new() };
        let greeting = connection.receive().context("QEMU did not greet")?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU greets with {greeting}");
        }
        connection.execute("qmp_capabilities", &json!({}))?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    /// Executes a command and returns its result. Pass `json!({})` when it has no arguments.
    ///
    /// # Errors
    /// QEMU's own description when it refuses, or that it ended.
    pub fn execute(&self, command: &str, arguments: &Value) -> Result<Value> {
        self.lock().execute(command, arguments)
    }

    /// Executes a command of the human monitor (`info usernet`) and returns what it prints.
    ///
    /// # Errors
    /// As [`Qmp::execute`].
    pub fn monitor(&self, command: &str) -> Result<String> {
        let printed = self.execute("human-monitor-command", &json!({ "command-line": command }))?;
        Ok(printed.as_str().unwrap_or_default().to_owned())
    }

    /// Waits for an event (`DEVICE_DELETED`, `RESET`) of which `is_it` holds; earlier events count if nobody took them.
    ///
    /// # Errors
    /// When it does not come within `timeout`, or QEMU ended.
    pub fn wait_for_event(&self, name: &str, timeout: Duration, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + timeout;
        let wanted = |event: &Value| event["event"] == name && is_it(&event["data"]);
        let mut connection = self.lock();
        if let Some(at) = connection.events.iter().position(wanted) {
            return Ok(connection.events.remove(at));
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("no event {name} within {timeout:?}");
            }
            connection.reader.get_ref().set_read_timeout(Some(left))?;
            let message = connection.receive();
            connection.reader.get_ref().set_read_timeout(Some(TIMEOUT))?;
            let message = message.with_context(|| format!("no event {name} within {timeout:?}"))?;
            if wanted(&message) {
                return Ok(message);
            }
            connection.keep(message);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        let mut line = request.to_string();
        line.push('\n');
        self.reader.get_mut().write_all(line.as_bytes()).with_context(|| format!("{command}: QEMU has ended"))?;
        loop {
            let mut answer = self.receive().with_context(|| format!("no answer to {command}"))?;
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command} {arguments}: {}", error["desc"].as_str().unwrap_or("without a reason"));
            }
            self.keep(answer);
        }
    }

    fn receive(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("QEMU has ended");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU sent {line:?}"))
    }

    /// Keeps an event for later; the oldest goes when nobody fetches them.
    fn keep(&mut self, event: Value) {
        const KEPT: usize = 64;
        if self.events.len() == KEPT {
            self.events.remove(0);
        }
        self.events.push(event);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::thread::{self, JoinHandle};

    use super::*;

    /// A QEMU that greets and answers each command with the next of `answers`, and returns what it was told.
    fn fake(answers: &'static [&'static str]) -> (UnixStream, JoinHandle<Vec<String>>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let qemu = thread::spawn(move || {
            let mut reader = BufReader::new(theirs);
            reader.get_mut().write_all(b"{\"QMP\": {\"version\": {}}}\n").unwrap();
            let mut told = Vec::new();
            for answer in [&["{\"return\": {}}"], answers].concat() {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                told.push(line);
                reader.get_mut().write_all(format!("{answer}\n").as_bytes()).unwrap();
            }
            told
        });
        (ours, qemu)
    }

    #[test]
    fn commands_are_answered_and_events_in_between_are_kept() {
        let (stream, qemu) = fake(&["{\"event\": \"RESET\", \"data\": {\"guest\": true}}\n{\"return\": \"ok\"}"]);
        let qmp = Qmp::new(stream).unwrap();
        assert_eq!(qmp.execute("system_reset", &json!({})).unwrap(), "ok");
        let event = qmp.wait_for_event("RESET", Duration::from_millis(10), |data| data["guest"] == true).unwrap();
        assert_eq!(event["event"], "RESET");
        let told = qemu.join().unwrap();
        let [first, second] = &told[..] else { unreachable!("two commands were sent") };
        assert!(first.contains("qmp_capabilities") && second.contains("system_reset"), "{told:?}");
    }

    #[test]
    fn a_refusal_says_why() {
        let (stream, _qemu) = fake(&["{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such device\"}}"]);
        let qmp = Qmp::new(stream).unwrap();
        let error = qmp.execute("device_del", &json!({ "id": "x" })).unwrap_err().to_string();
        assert_eq!(error, "QEMU refuses device_del {\"id\":\"x\"}: no such device");
    }

    #[test]
    fn an_ended_qemu_is_said() {
        let (stream, qemu) = fake(&[]);
        let qmp = Qmp::new(stream).unwrap();
        qemu.join().unwrap();
        assert!(format!("{:#}", qmp.execute("quit", &json!({})).unwrap_err()).contains("QEMU has ended"));
    }
}
