//! A real MQTT broker, mosquitto, and a subscriber that outlives it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::Program;
use crate::wait;

/// A message as the subscriber got it.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
    /// Whether the broker had kept it for new subscribers.
    pub is_kept: bool,
}

impl Message {
    /// Reads the payload as JSON.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.payload).with_context(|| format!("{self:?}"))
    }
}

/// mosquitto on port 1883 of the calling thread's network. Sessions survive its restarts, also when it is killed: they are
/// written to a file with each change.
pub struct Broker {
    folder: TempDir,
    program: Option<Program>,
}

impl Broker {
    /// Starts it, or returns `None` where it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Option<Self>> {
        let folder = TempDir::new()?;
        let path = folder.path().to_str().context("the folder's name")?;
        let conf = format!(
            "listener 1883\nallow_anonymous true\nuser root\npersistence true\npersistence_location {path}/\n\
             max_queued_messages 100000\n\
             autosave_interval 1\nautosave_on_changes true\nlog_dest file {path}/log\n"
        );
        fs::write(folder.path().join("conf"), conf)?;
        let mut broker = Self { folder, program: None };
        broker.restart()?;
        Ok(broker.program.is_some().then_some(broker))
    }

    /// Starts it again after [`stop`](Self::stop).
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(self.folder.path().join("conf"));
        self.program = Program::start(&mut command, "the package mosquitto", "MQTT")?;
        if self.program.is_some() {
            wait::until("the broker's port", Duration::from_secs(20), || {
                Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, 1883)).ok())
            })?;
        }
        Ok(())
    }

    /// Stops it; it writes its sessions to a file.
    ///
    /// # Errors
    /// When it had stopped already, or does not.
    pub fn stop(&mut self) -> Result<()> {
        self.program.take().context("mosquitto does not run")?.stop()
    }

    /// Kills it, in the middle of whatever it does.
    ///
    /// # Errors
    /// When it had stopped already.
    pub fn kill(&mut self) -> Result<()> {
        self.program.take().context("mosquitto does not run")?.kill()
    }

    /// Returns what it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// `mosquitto_sub` with a session of its own, which comes back by itself when the broker does.
pub struct Subscriber {
    child: Child,
    messages: Arc<Mutex<Vec<Message>>>,
}

impl Subscriber {
    /// Subscribes at quality of service 1.
    ///
    /// # Errors
    /// When `mosquitto_sub` does not start.
    pub fn start(client: &str, topic: &str) -> Result<Self> {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-V", "mqttv5", "-i", client, "-c", "-x", "3600", "-q", "1", "-t", topic]);
        command.args(["-F", "%r %t %p"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("starting mosquitto_sub (package mosquitto-clients)")?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let messages = Arc::new(Mutex::new(Vec::new()));
        let kept = messages.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let mut parts = line.splitn(3, ' ');
                let (Some(retained), Some(topic), payload) = (parts.next(), parts.next(), parts.next()) else {
                    continue;
                };
                let message = Message {
                    topic: topic.to_owned(),
                    payload: payload.unwrap_or_default().to_owned(),
                    is_kept: retained == "1",
                };
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
        });
        Ok(Self { child, messages })
    }

    /// Returns everything that came.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a message for which `is` holds.
    ///
    /// # Errors
    /// After `deadline`, with what came last instead.
    pub fn wait_for(&self, what: &str, deadline: Duration, is: impl Fn(&Message) -> bool) -> Result<Message> {
        let found = wait::until(what, deadline, || Ok(self.messages().into_iter().find(&is)));
        found.with_context(|| {
            format!("the last messages: {:#?}", self.messages().iter().rev().take(5).collect::<Vec<_>>())
        })
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
