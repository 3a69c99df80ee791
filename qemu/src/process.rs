//! Starts QEMU so that it ends with its owner, however the owner ends.
//!
//! Linux sends the parent-death signal when the *thread* that started the child ends, and a test's thread ends before
//! a node that tests share. So one thread, which lives as long as the process, starts all of them; it visits the
//! network namespace of the thread that asked, so that a tap of that namespace is found. `setpriv` (util-linux) sets the
//! signal: doing so between fork and exec would need unsafe code.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use nix::unistd::geteuid;

use crate::namespace::Namespace;

struct Request {
    command: Command,
    namespace: Option<Namespace>,
    answer: mpsc::Sender<io::Result<Child>>,
}

/// Returns a command that runs `program` and has the kernel kill it when its parent dies.
pub(crate) fn dying_with_parent(program: &std::path::Path) -> Command {
    match setpriv() {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Returns the same, with the program in a user namespace of its own, where that is needed and possible. There its parent, who owns
/// the namespace, may do to it what else only root may (user_namespaces(7)); the program has no rights outside that it had before
/// except those that come from groups and capabilities, so it finds no tap interface.
pub(crate) fn dying_and_owned(program: &std::path::Path) -> Command {
    static IS_POSSIBLE: OnceLock<bool> = OnceLock::new();
    const NAMESPACE: [&str; 2] = ["--user", "--map-current-user"];
    let is_possible = || {
        let mut probe = Command::new("unshare");
        probe.args(NAMESPACE).arg("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    let inner = dying_with_parent(program);
    if geteuid().is_root() || !*IS_POSSIBLE.get_or_init(is_possible) {
        return inner;
    }
    let mut command = Command::new("unshare");
    command.args(NAMESPACE).arg("--").arg(inner.get_program()).args(inner.get_args());
    command
}

/// Starts `command` from the long-lived thread, in the caller's network namespace.
pub(crate) fn spawn(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Request>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, inbox) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for Request { command, namespace, answer } in inbox {
                // Nobody waits for the answer only when the asking thread was ended meanwhile.
                let _ = answer.send(spawn_in(command, namespace));
            }
        });
        Mutex::new(requests)
    });
    let (answer, result) = mpsc::channel();
    let namespace = Namespace::current().ok();
    let gone = || io::Error::other("the thread that starts QEMU has ended");
    let request = Request { command, namespace, answer };
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send(request).map_err(|_| gone())?;
    result.recv().map_err(|_| gone())?
}

fn spawn_in(mut command: Command, namespace: Option<Namespace>) -> io::Result<Child> {
    match namespace {
        Some(namespace) => namespace.visit(|| command.spawn())?,
        None => command.spawn(),
    }
}

fn setpriv() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/bin"].map(PathBuf::from);
    env::split_paths(&path).chain(usual).map(|directory| directory.join("setpriv")).find(|file| file.is_file())
}
