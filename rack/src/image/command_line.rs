//! cmdline.txt.

use anyhow::{Result, bail};

/// What is sure to arrive: the firmware puts up to 256 bytes of its own for Linux in front, and hands on no less than the
/// 1,024 bytes that 32-bit Linux takes (arch/arm/include/uapi/asm/setup.h, COMMAND_LINE_SIZE).
const LEN_MAX: usize = 768;

/// Returns the one line of cmdline.txt.
pub(super) fn compose(text: &str) -> Result<String> {
    if text.contains(['\n', '\r', '\0']) {
        bail!("--cmdline has to be one line");
    }
    let line = text.trim().to_owned() + "\n";
    if line.len() > LEN_MAX {
        bail!("the command line has {} bytes, at most {LEN_MAX} are sure to reach the node", line.len());
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn the_line_is_what_was_written() {
        assert_eq!(compose("").unwrap(), "\n");
        assert_eq!(compose(" name=a ").unwrap(), "name=a\n");
        assert!(compose("a\nb").is_err());
        assert!(compose(&"x".repeat(LEN_MAX)).is_err());
    }
}
