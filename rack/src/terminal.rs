//! The terminal as it was before QEMU had it.
//!
//! QEMU makes the terminal raw and its file non-blocking, and puts both back when it ends by itself. When it is killed
//! it does not, and the user's shell would be left without echo.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

/// Puts the terminal of standard input back when dropped.
pub(crate) struct Saved {
    settings: Option<Termios>,
    flags: Option<OFlag>,
}

impl Saved {
    /// Remembers how the terminal is, if there is one.
    pub(crate) fn new() -> Self {
        let stdin = io::stdin();
        let flags = fcntl(stdin.as_fd(), FcntlArg::F_GETFL).ok().map(OFlag::from_bits_truncate);
        Self { settings: tcgetattr(stdin.as_fd()).ok(), flags }
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        let stdin = io::stdin();
        // Both fail only when the terminal is gone.
        if let Some(settings) = &self.settings {
            let _ = tcsetattr(stdin.as_fd(), SetArg::TCSANOW, settings);
        }
        if let Some(flags) = self.flags {
            let _ = fcntl(stdin.as_fd(), FcntlArg::F_SETFL(flags));
        }
    }
}

/// Writes everything to a file that QEMU may have made non-blocking.
pub(crate) struct Patient<W>(pub(crate) W);

impl<W: io::Write + AsFd> io::Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_room(self.0.as_fd())?,
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        loop {
            match self.0.flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_room(self.0.as_fd())?,
                result => return result,
            }
        }
    }
}

fn wait_for_room(file: BorrowedFd<'_>) -> io::Result<()> {
    poll(&mut [PollFd::new(file, PollFlags::POLLOUT)], PollTimeout::NONE)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::*;

    #[test]
    fn a_full_file_is_waited_for() {
        const LEN: usize = 4 << 20;
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            theirs.read_to_end(&mut bytes).unwrap();
            bytes.len()
        });
        let mut patient = Patient(ours);
        patient.write_all(&vec![7; LEN]).unwrap();
        drop(patient);
        assert_eq!(reader.join().unwrap(), LEN);
    }
}
