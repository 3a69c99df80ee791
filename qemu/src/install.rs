//! Installs QEMU with the system's package manager.
//!
//! Debian 12 itself has QEMU 7.2, which will do; version 10 of its backports is faster and what the tests are written
//! against. The mirror is the one that the machine is configured with, and its configuration is not changed: apt is
//! given a temporary copy of the sources with the backports suite added.

use std::env;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

use crate::apt::{self, Source};
use crate::find::{OLDEST, PROGRAM, Qemu};

const PACKAGE: &str = "qemu-system-arm";
/// How long another package manager may hold its locks: an unattended upgrade takes minutes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(300);

/// Installs QEMU; `missing` says why that is necessary.
///
/// # Errors
/// One line with the command that the user can run, when it can't be done from here.
pub fn install(missing: &str, progress: &mut dyn FnMut(&str)) -> Result<Qemu> {
    let system = System::of_this_machine();
    let plan = system.plan();
    let Some(privilege) = system.privilege.filter(|_| system.has_apt) else {
        bail!("{missing}. To install it, run: {}", plan.manual());
    };
    let _turn = turn(&env::temp_dir(), progress);
    if let Ok(qemu) = Qemu::find() {
        return Ok(qemu);
    }
    progress(&format!("{missing}: installing {PACKAGE}{}", plan.origin()));
    if let Err(error) = plan.run(privilege, progress) {
        bail!("{missing}, and installing it failed: {error:#}. To see more, run: {}", plan.manual());
    }
    let qemu = Qemu::find().context("the package was installed, but")?;
    progress(&format!("QEMU {} is installed", qemu.version));
    Ok(qemu)
}

/// Waits until nobody else who runs this code installs, and keeps others waiting until it is dropped. apt's own locks are not enough:
/// where archives are deleted after an update, as in containers, the update of one makes the installation of another fail.
/// Where the lock can't be had, as it is another user's, there is none.
fn turn(folder: &Path, progress: &mut dyn FnMut(&str)) -> Option<File> {
    let path = folder.join("minipirack-install.lock");
    let file = File::options().create(true).append(true).custom_flags(nix::libc::O_NOFOLLOW).open(path).ok()?;
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        progress("waiting for another one of us that installs QEMU");
        file.lock().ok()?;
    }
    Some(file)
}

/// How apt is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Privilege {
    Root,
    Sudo,
}

/// What decides how QEMU is installed here.
#[derive(Clone, Debug, Default)]
struct System {
    /// `ID` of `/etc/os-release`.
    id: String,
    /// `VERSION_CODENAME` of it.
    codename: String,
    has_apt: bool,
    privilege: Option<Privilege>,
    sources: Vec<Source>,
}

impl System {
    fn of_this_machine() -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let is_good = |command: &mut Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        let privilege = if geteuid().is_root() {
            Some(Privilege::Root)
        } else {
            is_good(Command::new("sudo").args(["-n", "true"])).then_some(Privilege::Sudo)
        };
        Self {
            id: apt::os_release(&release, "ID"),
            codename: apt::os_release(&release, "VERSION_CODENAME"),
            has_apt: is_good(Command::new("apt-get").arg("--version")),
            privilege,
            sources: apt::sources_of(Path::new("/etc/apt")),
        }
    }

    fn plan(&self) -> Plan {
        if !self.has_apt {
            return Plan::ByHand;
        }
        if self.id != "debian" || self.codename != "bookworm" {
            return Plan::Package;
        }
        let suite = format!("{}-backports", self.codename);
        if self.sources.iter().any(|source| source.has_main_of(&suite)) {
            return Plan::Backports { suite, added: None };
        }
        match self.sources.iter().find(|source| source.has_main_of(&self.codename)) {
            Some(mirror) => Plan::Backports { added: Some(mirror.with_suite(&suite)), suite },
            None => Plan::Package,
        }
    }
}

/// How QEMU gets here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plan {
    /// From the suite that the machine uses.
    Package,
    /// From the backports suite, which is added for this once if the machine does not have it.
    Backports { suite: String, added: Option<Source> },
    /// There is no package manager that we know.
    ByHand,
}

impl Plan {
    /// Returns the command for a user who wants to do it, on one line.
    fn manual(&self) -> String {
        let install = format!("sudo apt-get update && sudo apt-get install -y {PACKAGE}");
        match self {
            Self::Package => install,
            Self::Backports { suite, added: None } => format!("{install} -t {suite}"),
            Self::Backports { suite, added: Some(source) } => format!(
                "echo '{}' | sudo tee /etc/apt/sources.list.d/{suite}.list && {install} -t {suite}",
                source.to_line()
            ),
            Self::ByHand => format!(
                "your system's package manager for {PROGRAM} {OLDEST} or later (sudo dnf install qemu-system-aarch64 | \
                 sudo pacman -S qemu-system-aarch64 | brew install qemu)"
            ),
        }
    }

    fn origin(&self) -> String {
        match self {
            Self::Backports { suite, .. } => format!(" from {suite}"),
            _ => String::new(),
        }
    }

    fn run(&self, privilege: Privilege, progress: &mut dyn FnMut(&str)) -> Result<()> {
        let (suite, added) = match self {
            Self::Backports { suite, added } => (Some(suite.as_str()), added.as_ref()),
            _ => (None, None),
        };
        let parts = added.map(|source| sources_with(Path::new("/etc/apt"), source)).transpose()?;
        let mut options = vec!["-q".to_owned(), format!("-oDPkg::Lock::Timeout={}", LOCK_TIMEOUT.as_secs())];
        if let Some(parts) = &parts {
            options.push(format!("-oDir::Etc::SourceParts={}", parts.path().display()));
        }
        // Lists that are old but complete are good enough: a third party's broken source must not stand in the way.
        if let Err(error) = apt_get(privilege, &options, &["update"], progress) {
            progress(&format!("the package lists could not be updated ({error:#}); going on with those at hand"));
        }
        let mut arguments = vec!["install", "-y", "--no-install-recommends"];
        arguments.extend(suite.into_iter().flat_map(|suite| ["-t", suite]));
        arguments.push(PACKAGE);
        match apt_get(privilege, &options, &arguments, progress) {
            Err(error) if suite.is_some() => {
                progress(&format!("not from the backports ({error:#}); taking the version of the distribution"));
                apt_get(privilege, &options, &["install", "-y", "--no-install-recommends", PACKAGE], progress)
            }
            result => result,
        }
    }
}

/// Makes a copy of the machine's source parts with `added` among them.
fn sources_with(etc_apt: &Path, added: &Source) -> Result<tempfile::TempDir> {
    let copy = tempfile::Builder::new().prefix("apt-sources-").tempdir()?;
    for entry in fs::read_dir(etc_apt.join("sources.list.d")).into_iter().flatten().flatten() {
        let file = entry.path();
        if file.is_file() {
            // What this user can't read, apt goes without.
            let _ = fs::copy(&file, copy.path().join(entry.file_name()));
        }
    }
    fs::write(copy.path().join("minipirack-backports.sources"), added.to_deb822())?;
    Ok(copy)
}

/// Runs apt-get, again while another one holds the lists.
fn apt_get(privilege: Privilege, options: &[String], arguments: &[&str], progress: &mut dyn FnMut(&str)) -> Result<()> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        let mut command = match privilege {
            Privilege::Root => Command::new("env"),
            Privilege::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", "env"]);
                command
            }
        };
        command.args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "apt-get"]).args(options).args(arguments);
        let (is_good, complaint) = run(command, progress)?;
        if is_good {
            return Ok(());
        }
        if !complaint.contains("Could not get lock") || Instant::now() >= deadline {
            let reason = complaint.lines().last().unwrap_or("without a reason");
            bail!("apt-get {} failed: {reason}", arguments.join(" "));
        }
        progress("waiting for another package manager to finish");
        thread::sleep(Duration::from_secs(3));
    }
}

/// Runs a command; its lines are progress. Returns whether it succeeded, and what it printed on standard error.
fn run(mut command: Command, progress: &mut dyn FnMut(&str)) -> Result<(bool, String)> {
    let complaints = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(complaints.reopen()?);
    let mut child = command.spawn().with_context(|| format!("{command:?} can't be run"))?;
    for line in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        progress(line?.trim_end());
    }
    let status = child.wait()?;
    let complaints = String::from_utf8_lossy(&fs::read(complaints.path())?).trim().to_owned();
    Ok((status.success(), complaints))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn debian_12(sources: &str) -> System {
        System {
            id: "debian".into(),
            codename: "bookworm".into(),
            has_apt: true,
            privilege: Some(Privilege::Root),
            sources: apt::parse_list(sources),
        }
    }

    #[test]
    fn debian_12_takes_the_backports_of_its_own_mirror() {
        let system =
            debian_12("deb http://security.example s-security main\ndeb http://mirror.example/debian bookworm main\n");
        let plan = system.plan();
        assert_eq!(
            plan.manual(),
            "echo 'deb http://mirror.example/debian bookworm-backports main' | \
             sudo tee /etc/apt/sources.list.d/bookworm-backports.list && sudo apt-get update && \
             sudo apt-get install -y qemu-system-arm -t bookworm-backports"
        );
    }

    #[test]
    fn configured_backports_are_used_as_they_are() {
        let system = debian_12("deb http://m/debian bookworm main\ndeb http://m/debian bookworm-backports main\n");
        assert_eq!(system.plan(), Plan::Backports { suite: "bookworm-backports".into(), added: None });
    }

    #[test]
    fn debian_12_without_a_known_mirror_takes_what_it_has() {
        assert_eq!(debian_12("").plan(), Plan::Package);
    }

    #[test]
    fn other_systems_with_apt_take_their_own_package() {
        let system = System { id: "ubuntu".into(), codename: "noble".into(), ..debian_12("") };
        assert_eq!(system.plan(), Plan::Package);
        assert_eq!(system.plan().manual(), "sudo apt-get update && sudo apt-get install -y qemu-system-arm");
    }

    #[test]
    fn without_apt_the_user_gets_the_commands_of_other_systems_on_one_line() {
        let plan = System { has_apt: false, ..debian_12("") }.plan();
        assert_eq!(plan, Plan::ByHand);
        assert!(plan.manual().contains("dnf install") && !plan.manual().contains('\n'));
    }

    #[test]
    fn the_copied_sources_keep_the_others_and_gain_one() {
        let etc = tempfile::tempdir().unwrap();
        fs::create_dir(etc.path().join("sources.list.d")).unwrap();
        fs::write(etc.path().join("sources.list.d/debian.sources"), "Types: deb\n").unwrap();
        let added = apt::parse_list("deb http://m/debian bookworm main")[0].with_suite("bookworm-backports");
        let copy = sources_with(etc.path(), &added).unwrap();
        assert_eq!(fs::read_to_string(copy.path().join("debian.sources")).unwrap(), "Types: deb\n");
        let ours = fs::read_to_string(copy.path().join("minipirack-backports.sources")).unwrap();
        assert!(ours.contains("Suites: bookworm-backports\n"), "{ours}");
    }

    #[test]
    fn one_at_a_time_installs() {
        let folder = tempfile::tempdir().unwrap();
        let (said, heard) = std::sync::mpsc::channel();
        let first = turn(folder.path(), &mut |_| ()).unwrap();
        let path = folder.path().to_owned();
        let other = thread::spawn(move || {
            let has_turn = turn(&path, &mut |line| said.send(line.to_owned()).unwrap()).is_some();
            said.send(has_turn.to_string()).unwrap();
        });
        assert!(heard.recv().unwrap().starts_with("waiting for another"));
        assert!(heard.recv_timeout(Duration::from_millis(300)).is_err(), "two at once");
        drop(first);
        assert_eq!(heard.recv().unwrap(), "true");
        other.join().unwrap();
        // Where there can't be a lock, it is done without.
        assert!(turn(Path::new("/nowhere"), &mut |_| ()).is_none());
    }

    #[test]
    fn a_failing_command_is_reported_with_its_last_words() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo step 1; echo E: no >&2; exit 100"]);
        let (is_good, complaint) = run(command, &mut |line| lines.push(line.to_owned())).unwrap();
        assert_eq!((is_good, complaint.as_str()), (false, "E: no"));
        assert_eq!(lines, ["step 1"]);
    }
}
