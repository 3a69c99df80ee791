//! A real browser without a screen: Chromium, told what to do over the DevTools protocol.
//!
//! The protocol goes through a pipe (`--remote-debugging-pipe`): JSON messages with a NUL behind each, read by the browser
//! from its file descriptor 3 and written to 4. Source: chromedevtools.github.io/devtools-protocol.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

use crate::wait;

/// Longest that the browser may take for anything: it starts slowly on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub struct Browser {
    process: Child,
    orders: ChildStdin,
    answers: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Opens a page; `None` if there is no Chromium on this machine.
    ///
    /// # Errors
    /// When it does not start.
    pub fn open(url: &str) -> Result<Option<Self>> {
        let Some(program) = program() else { return Ok(None) };
        let profile = tempfile::tempdir()?;
        // The shell makes the two file descriptors out of its standard input and output.
        let mut process = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh", program])
            .args(["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
            // Nothing but the node: no updates, no search engine.
            .args(["--no-first-run", "--disable-extensions", "--disable-background-networking", "--disable-sync"])
            .arg("--disable-component-update")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("running {program}"))?;
        let orders = process.stdin.take().context("no input")?;
        let output = BufReader::new(process.stdout.take().context("no output")?);
        let (sender, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap_or(Value::Null);
                // Nobody listens any more when the browser is dropped.
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut this = Self { process, orders, answers, session: None, last_id: 0, _profile: profile };
        let page = this.order("Target.createTarget", &json!({ "url": url }))?;
        let attach = json!({ "targetId": page["targetId"], "flatten": true });
        let session = this.order("Target.attachToTarget", &attach)?;
        this.session = session["sessionId"].as_str().map(str::to_owned);
        Ok(Some(this))
    }

    /// Evaluates JavaScript in the page and returns what comes out.
    ///
    /// # Errors
    /// When it throws.
    pub fn evaluate(&mut self, script: &str) -> Result<Value> {
        let result = self.order("Runtime.evaluate", &json!({ "expression": script, "returnByValue": true }))?;
        ensure!(result["exceptionDetails"].is_null(), "{script}: {}", result["exceptionDetails"]);
        Ok(result["result"]["value"].clone())
    }

    /// Waits until JavaScript evaluates to true.
    ///
    /// # Errors
    /// When it does not in time; with the page.
    pub fn wait_for(&mut self, script: &str) -> Result<()> {
        let waited = wait::until(script, PATIENCE, || Ok((self.evaluate(script)? == true).then_some(())));
        waited.with_context(|| format!("{:?}", self.evaluate("document.documentElement.outerHTML")))
    }

    /// Makes the page so large, in CSS pixels, and dark or light.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn resize(&mut self, width: u32, height: u32, is_dark: bool) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700 });
        self.order("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.order("Emulation.setEmulatedMedia", &features).map(|_| ())
    }

    /// Writes a picture of the page to a file, and returns how many bytes it has.
    ///
    /// # Errors
    /// When the browser makes none.
    pub fn screenshot(&mut self, file: &Path) -> Result<usize> {
        let picture = self.order("Page.captureScreenshot", &json!({ "format": "png" }))?;
        let data = picture["data"].as_str().context("no picture")?;
        let Ok(bytes) = Base64::decode_vec(data) else { bail!("a picture that is not in base64") };
        std::fs::write(file, &bytes).with_context(|| format!("writing {}", file.display()))?;
        Ok(bytes.len())
    }

    fn order(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let mut order = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            order["sessionId"] = Value::from(session.as_str());
        }
        let mut bytes = order.to_string().into_bytes();
        bytes.push(0);
        self.orders.write_all(&bytes).with_context(|| format!("telling Chromium {method}"))?;
        // Between them are events.
        loop {
            let answer =
                self.answers.recv_timeout(PATIENCE).with_context(|| format!("Chromium's answer to {method}"))?;
            if answer["id"] == id {
                ensure!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return Ok(answer["result"].clone());
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends by itself when asked to; if it does not answer any more, there are stronger means. Either way it is gone.
        self.session = None;
        let _ = self.order("Browser.close", &json!({}));
        let _ = wait::until("Chromium to end", Duration::from_secs(10), || Ok(self.process.try_wait()?));
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns what the browser is called here.
fn program() -> Option<&'static str> {
    let is_there = |name: &&str| {
        let version = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(is_there)
}
