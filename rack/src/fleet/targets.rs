//! `targets`: the nodes as Prometheus finds them: a file that it watches (`file_sd_configs`), or a page that it asks for
//! (`http_sd_configs`), both of one format (Prometheus' documentation, "HTTP SD format").

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::http::Timed;
use super::node::{Node, Origin};
use super::selection::{Login, Selection};
use super::stream::Stream;
use crate::progress::say;
use crate::virtual_rack::place::Place;
use crate::virtual_rack::protocol;

/// How long a client of ours may take to ask, and to take the answer: meanwhile others wait.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest request.
const REQUEST_LEN_MAX: u64 = 16 << 10;

/// In which way.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Serves them over HTTP at this address, until Ctrl-C: 127.0.0.1:9900. Nodes are looked for at every request.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "output")]
    serve: Option<SocketAddr>,
    /// Replaces this file by them, at once, so that Prometheus never sees half of it.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    selection: Selection,
}

/// Shows, writes or serves targets.
pub(crate) fn targets(options: &Options) -> Result<ExitCode> {
    if let Some(address) = options.serve {
        return serve(address, &options.selection);
    }
    let text = text(&options.selection)?;
    match &options.output {
        Some(file) => replace(file, &text)?,
        None => io::stdout().write_all(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn text(selection: &Selection) -> Result<String> {
    let nodes = selection.all(&Login::default())?;
    let list = nodes.iter().map(target).collect::<Result<Vec<_>>>()?;
    Ok(format!("{:#}\n", Value::from(list)))
}

/// Returns a node as Prometheus reaches it. One that does not answer is there, too: Prometheus then says that it is down.
fn target(node: &Node) -> Result<Value> {
    let address = match &node.origin {
        Origin::Lan if node.require_address().is_ok() => node.address.to_string(),
        // Prometheus may find it, or says that it is down. No address would be its own machine's.
        Origin::Lan => format!("{}.local:80", node.name),
        Origin::Rack(rack) => {
            let status = protocol::status(&Place::of(rack)?)?.with_context(|| format!("rack {rack} is not up"))?;
            let found = status.find(&node.address.ip().to_string());
            let forward = found.and_then(|found| found.forwards.iter().find(|forward| forward.node_port == 80));
            let missing =
                || format!("no port of this machine leads to {}: `up` without --forward, or with 80 in it", node.name);
            forward.with_context(missing)?.host.to_string()
        }
    };
    Ok(entry(node, &address))
}

fn entry(node: &Node, address: &str) -> Value {
    json!({
        "targets": [address],
        // `instance` as a label keeps a virtual node's port out of every plot.
        "labels": { "instance": node.name, "board": node.board, "rack": node.origin.to_string() },
    })
}

fn replace(file: &Path, text: &str) -> Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fails = || format!("{} can't be written", file.display());
    let mut new = NamedTempFile::new_in(directory).with_context(fails)?;
    new.write_all(text.as_bytes()).with_context(fails)?;
    // A temporary file is its owner's only; Prometheus is somebody else.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    new.as_file().set_permissions(permissions).with_context(fails)?;
    new.persist(file).map_err(|error| error.error).with_context(fails)?;
    Ok(())
}

fn serve(address: SocketAddr, selection: &Selection) -> Result<ExitCode> {
    let listener = TcpListener::bind(address).with_context(|| format!("{address} can't be listened at"))?;
    say(&format!("http_sd_configs: url: http://{}/targets    Ctrl-C ends it.", listener.local_addr()?));
    for stream in listener.incoming().flatten() {
        // Who does not take the answer has none.
        let _ = answer(stream, REQUEST_TIMEOUT, || text(selection));
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(stream: TcpStream, timeout: Duration, text: impl Fn() -> Result<String>) -> io::Result<()> {
    let mut client = Timed::new(Stream::Tcp(stream), timeout);
    let mut reader = BufReader::new(&mut client).take(REQUEST_LEN_MAX);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut field = String::new();
    while reader.read_line(&mut field)? > 2 {
        field.clear();
    }
    let path = request.strip_prefix("GET ").and_then(|rest| rest.split([' ', '?']).next());
    let (status, kind, body) = match path {
        Some("/" | "/targets") => match text() {
            Ok(body) => ("200 OK", "application/json", body),
            // Prometheus then keeps what it had.
            Err(error) => ("503 Service Unavailable", "text/plain", format!("{error:#}\n")),
        },
        Some(_) => ("404 Not Found", "text/plain", "only /targets is here\n".into()),
        None => ("405 Method Not Allowed", "text/plain", "only GET\n".into()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // Looking for nodes took its time.
    client.restart(timeout);
    client.write_all(head.as_bytes())?;
    client.write_all(body.as_bytes())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::thread;
    use std::time::Instant;

    use super::super::node::tests::node;
    use super::*;

    #[test]
    fn a_target_has_its_nodes_name() {
        let entry = entry(&node("pi-1", 1), "127.0.0.1:4000");
        let labels = json!({ "instance": "pi-1", "board": "raspi3b", "rack": "rack test" });
        assert_eq!(entry, json!({ "targets": ["127.0.0.1:4000"], "labels": labels }));
        let nowhere = Node { origin: Origin::Lan, address: ([0, 0, 0, 0], 80).into(), ..node("pi-2", 2) };
        assert_eq!(target(&nowhere).unwrap()["targets"], json!(["pi-2.local:80"]));
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("targets.json");
        for text in ["[1]\n", "[]\n"] {
            replace(&file, text).unwrap();
            assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(replace(Path::new("/nowhere/x"), "").is_err());
    }

    #[test]
    fn only_targets_are_served() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests =
            ["GET /targets HTTP/1.1\r\nHost: a\r\n\r\n", "GET /x HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\n\r\n"];
        let server = thread::spawn(move || {
            for _ in requests {
                answer(listener.accept().unwrap().0, REQUEST_TIMEOUT, || Ok("[]".into())).unwrap();
            }
        });
        for (request, status) in requests.iter().zip(["200 OK", "404", "405"]) {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        }
        server.join().unwrap();
    }

    #[test]
    fn who_asks_a_byte_at_a_time_keeps_others_waiting_for_a_moment_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let dribble = thread::spawn(move || {
            while client.write_all(b"G").is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        let begin = Instant::now();
        let error = answer(stream, Duration::from_millis(200), || Ok("[]".into())).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{error}");
        // The longest request, at this pace, takes five minutes.
        assert!(begin.elapsed() < Duration::from_secs(60));
        dribble.join().unwrap();
    }
}
