//! The transmit FIFO: what bulk OUT packets bring, as a stream of command words and buffers.

/// The stream makes no sense; why, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncLost(pub(crate) String);

/// Bytes that have arrived and were not taken.
///
/// Every command starts at a multiple of four bytes behind the start of its transfer; a short packet ends a transfer.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    bytes: Vec<u8>,
    /// Bytes between the last buffer and the next command that have not arrived yet.
    padding: usize,
}

impl Segments {
    /// Returns how many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        let padding = self.padding.min(data.len());
        self.padding -= padding;
        self.bytes.extend_from_slice(&data[padding..]);
    }

    /// Returns what waits.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes a command with its buffer, and the bytes up to the next command.
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        let rest = self.bytes.split_off(len);
        let taken = std::mem::replace(&mut self.bytes, rest);
        let padding = len.next_multiple_of(4) - len;
        let here = padding.min(self.bytes.len());
        self.bytes.drain(..here);
        self.padding = padding - here;
        taken
    }

    /// A short packet while nothing is taken: what waits is filled up, as the FIFO does, which counts in words.
    pub(crate) fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// A short packet: the next one starts at a multiple of four again.
    pub(crate) fn end_transfer(&mut self) -> Result<(), SyncLost> {
        self.padding = 0;
        if self.bytes.is_empty() {
            return Ok(());
        }
        let left = self.bytes.len();
        self.bytes.clear();
        Err(SyncLost(format!("a transfer ends inside of a buffer, {left} bytes behind its command")))
    }
}
