//! cmdline.txt: what the node is told, checked as the node will read it.

use anyhow::{Context, Result, bail};
use config::{Config, MAX_SSH_KEYS};

/// What is sure to arrive: the firmware puts up to 256 bytes of its own for Linux in front, and hands on no less than the
/// 1,024 bytes that 32-bit Linux takes (arch/arm/include/uapi/asm/setup.h, COMMAND_LINE_SIZE).
const LEN_MAX: usize = 768;

/// Returns the one line of cmdline.txt: what the user wrote, and the keys.
pub(super) fn compose(text: &str, keys: &[String]) -> Result<String> {
    if text.contains(['\n', '\r', '\0']) {
        bail!("--cmdline has to be one line");
    }
    if keys.len() > MAX_SSH_KEYS {
        bail!("{} SSH keys are too many: a node takes {MAX_SSH_KEYS}", keys.len());
    }
    let words = [text.trim().to_owned()].into_iter().filter(|text| !text.is_empty());
    let line = words.chain(keys.iter().map(|key| format!("ssh-key={key}"))).collect::<Vec<_>>().join(" ") + "\n";
    if line.len() > LEN_MAX {
        bail!("the command line has {} bytes, at most {LEN_MAX} are sure to reach the node", line.len());
    }
    Ok(line)
}

/// Returns what the node will say about the line.
pub(super) fn warnings(line: &str) -> Vec<String> {
    let config = Config::parse(line.as_bytes());
    config.warnings.iter().map(ToString::to_string).collect()
}

/// Returns the keys of a file such as id_ed25519.pub or authorized_keys, as the node wants them.
pub(super) fn public_keys(text: &str) -> Result<Vec<String>> {
    if text.contains("PRIVATE KEY") {
        bail!("this is a private key, which must not leave this machine; give the public one (.pub)");
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(public_key).collect::<Result<Vec<_>>>()?;
    if keys.is_empty() {
        bail!("there is no key in it");
    }
    Ok(keys)
}

fn public_key(line: &str) -> Result<String> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "ssh-ed25519");
    let key = words.nth(1).context("a node takes ssh-ed25519 keys only; to make one: ssh-keygen -t ed25519")?;
    if Config::parse(format!("ssh-key={key}").as_bytes()).ssh_keys.is_empty() {
        bail!("{key} is not an Ed25519 key");
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    const KEY: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIBERERERERERERERERERERERERERERERERERERERERER";

    #[test]
    fn the_line_is_what_was_written_and_the_keys() {
        assert_eq!(compose("", &[]).unwrap(), "\n");
        assert_eq!(compose(" name=a ", &["K".into(), "L".into()]).unwrap(), "name=a ssh-key=K ssh-key=L\n");
        assert!(compose("a\nb", &[]).is_err());
        assert!(compose(&"x".repeat(LEN_MAX), &[]).is_err());
        assert!(compose("", &vec![KEY.into(); MAX_SSH_KEYS + 1]).is_err());
        assert!(compose("", &vec![KEY.into(); 9]).is_ok());
    }

    #[test]
    fn mistakes_are_told_as_the_node_tells_them() {
        assert_eq!(warnings("name=a workload=cpu\n"), Vec::<String>::new());
        let warnings = warnings("nmae=a log=loud\n");
        assert!(warnings[0].starts_with("command line: nmae=a ignored: unknown key"), "{warnings:?}");
        assert!(warnings[1].contains("log=loud ignored"), "{warnings:?}");
    }

    #[test]
    fn keys_are_read_as_ssh_keygen_and_authorized_keys_have_them() {
        let text = format!("# mine\nssh-ed25519 {KEY} me@home\n\nrestrict,pty ssh-ed25519 {KEY}\n");
        assert_eq!(public_keys(&text).unwrap(), [KEY, KEY]);
    }

    #[test]
    fn what_is_no_public_key_is_refused_with_the_reason() {
        let reason = |text: &str| public_keys(text).unwrap_err().to_string();
        assert!(reason("-----BEGIN OPENSSH PRIVATE KEY-----\n").contains("must not leave"));
        assert!(reason("ssh-rsa AAAAB3 me").contains("ssh-keygen -t ed25519"));
        assert!(reason("ssh-ed25519 AAAA me").contains("not an Ed25519 key"));
        assert!(reason("# nothing\n").contains("no key"));
    }
}
