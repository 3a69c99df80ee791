//! A real syslog server, rsyslog, and the messages that it understood.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::program::Program;
use crate::wait;

/// Takes RFC 5424 over UDP and TCP, and writes what it has parsed.
const CONFIGURATION: &str = r#"global(workDirectory="FOLDER")
module(load="imudp")
input(type="imudp" port="514")
module(load="imtcp")
input(type="imtcp" port="514")
template(name="parsed" type="string" string="%syslogfacility-text%\t%syslogseverity-text%\t%timereported:::date-rfc3339%\t%hostname%\t%app-name%\t%structured-data%\t%msg%\n")
action(type="omfile" file="FOLDER/messages" template="parsed")
"#;

/// A message as rsyslog has parsed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The facility's name, like `local0`.
    pub facility: String,
    /// The severity's name, like `info`.
    pub severity: String,
    /// The sender's name.
    pub host: String,
    /// The sending program.
    pub app: String,
    /// `sequenceId` of the structured data `meta`.
    pub sequence: u64,
    /// What it says.
    pub text: String,
}

/// rsyslog on port 514 of the calling thread's network.
pub struct SyslogServer {
    folder: TempDir,
    program: Option<Program>,
}

impl SyslogServer {
    /// Starts it, or returns `None` where it is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start() -> Result<Option<Self>> {
        let mut server = Self { folder: TempDir::new()?, program: None };
        let path = server.folder.path().to_str().context("the folder's name")?;
        fs::write(server.folder.path().join("conf"), CONFIGURATION.replace("FOLDER", path))?;
        server.restart()?;
        Ok(server.program.is_some().then_some(server))
    }

    /// Starts it again after [`stop`](Self::stop).
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        let (conf, pid) = (self.folder.path().join("conf"), self.folder.path().join("pid"));
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.arg("-n").arg("-f").arg(conf).arg("-i").arg(pid);
        self.program = Program::start(&mut command, "the package rsyslog", "syslog")?;
        Ok(())
    }

    /// Stops it.
    ///
    /// # Errors
    /// When it had stopped already, or does not.
    pub fn stop(&mut self) -> Result<()> {
        self.program.take().context("rsyslog does not run")?.stop()
    }

    /// Returns every message since the first start.
    ///
    /// # Errors
    /// When one is not what RFC 5424 and our documentation say.
    pub fn messages(&self) -> Result<Vec<Message>> {
        // Not there before the first message.
        let text = fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default();
        // The last line may not be complete yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(parse).collect()
    }

    /// Waits for a message that contains `part`, and returns it.
    ///
    /// # Errors
    /// After `deadline`, with what came instead.
    pub fn wait_for(&self, part: &str, deadline: Duration) -> Result<Message> {
        let found = wait::until(&format!("a syslog message with {part:?}"), deadline, || {
            Ok(self.messages()?.into_iter().find(|message| message.text.contains(part)))
        });
        found.with_context(|| format!("{:#?}", self.messages()))
    }
}

fn parse(line: &str) -> Result<Message> {
    let fields: Vec<_> = line.splitn(7, '\t').collect();
    let [facility, severity, _time, host, app, data, text] = fields[..] else { bail!("rsyslog wrote {line:?}") };
    let sequence = data.strip_prefix("[meta sequenceId=\"").and_then(|rest| rest.strip_suffix("\"]"));
    Ok(Message {
        facility: facility.to_owned(),
        severity: severity.to_owned(),
        host: host.to_owned(),
        app: app.to_owned(),
        sequence: sequence.with_context(|| format!("no sequenceId in {line:?}"))?.parse()?,
        text: text.to_owned(),
    })
}
