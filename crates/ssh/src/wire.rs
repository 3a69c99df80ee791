//! The data types of messages (RFC 4251, section 5): read from bytes that anybody may have sent, written into a buffer.

/// A message that is not as it should be: too short, or with a value that can't be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed message")]
pub struct Malformed;

/// Reads values one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Returns what was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.bytes(N)?.try_into().map_err(|_| Malformed)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn boolean(&mut self) -> Result<bool, Malformed> {
        Ok(self.byte()? != 0)
    }

    pub(crate) fn number(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.number()?;
        self.bytes(usize::try_from(len).map_err(|_| Malformed)?)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        str::from_utf8(self.string()?).map_err(|_| Malformed)
    }
}

/// Writes values one behind the other. What does not fit is noted, and told by [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
    is_full: bool,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0, is_full: false }
    }

    /// Returns how many bytes were written; `None` if something did not fit.
    pub(crate) fn finish(self) -> Option<usize> {
        (!self.is_full).then_some(self.len)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        match self.buffer.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.is_full = true,
        }
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.byte(value.into());
    }

    pub(crate) fn number(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }

    pub(crate) fn string(&mut self, bytes: &[u8]) {
        // Nothing here is anywhere near 4 GiB.
        self.number(bytes.len() as u32);
        self.bytes(bytes);
    }
}

/// Shows `take` the bytes of a number from the network as a multiple precision integer: its length, a zero where the first bit
/// would be a sign, its bytes without leading zeros.
pub(crate) fn mpint(bytes: &[u8], take: &mut dyn FnMut(&[u8])) {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = bytes.get(zeros..).unwrap_or_default();
    let is_padded = bytes.first().is_some_and(|first| first & 0x80 != 0);
    take(&(bytes.len() as u32 + u32::from(is_padded)).to_be_bytes());
    if is_padded {
        take(&[0]);
    }
    take(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut buffer = [0; 64];
        let mut writer = Writer::new(&mut buffer);
        writer.byte(7);
        writer.boolean(true);
        writer.number(0x0102_0304);
        writer.string(b"testing");
        let len = writer.finish().unwrap();
        // RFC 4251, section 5: "testing" is 00 00 00 07 t e s t i n g.
        assert_eq!(&buffer[..len], b"\x07\x01\x01\x02\x03\x04\0\0\0\x07testing");
        let mut reader = Reader::new(&buffer[..len]);
        assert_eq!((reader.byte(), reader.boolean(), reader.number()), (Ok(7), Ok(true), Ok(0x0102_0304)));
        assert_eq!((reader.text(), reader.rest()), (Ok("testing"), &[][..]));
    }

    #[test]
    fn a_string_that_is_cut_off_is_malformed() {
        for bytes in [&b""[..], b"\0\0\0", b"\0\0\0\x02a", b"\xff\xff\xff\xff"] {
            assert_eq!(Reader::new(bytes).string(), Err(Malformed));
        }
        assert_eq!(Reader::new(b"\0\0\0\x01\xff").text(), Err(Malformed));
    }

    #[test]
    fn a_full_buffer_is_told() {
        let mut buffer = [0; 4];
        let mut writer = Writer::new(&mut buffer);
        writer.string(b"x");
        assert_eq!(writer.finish(), None);
    }

    #[test]
    fn numbers_are_as_in_the_rfc() {
        let shown = |bytes: &[u8]| {
            let mut out = Vec::new();
            mpint(bytes, &mut |part| out.extend_from_slice(part));
            out
        };
        // RFC 4251, section 5, "mpint".
        assert_eq!(shown(&[0, 0]), [0, 0, 0, 0]);
        assert_eq!(shown(&[0x80]), [0, 0, 0, 2, 0, 0x80]);
        let number = [0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7];
        assert_eq!(shown(&number), [0, 0, 0, 8, 0x09, 0xa3, 0x78, 0xf9, 0xb2, 0xe3, 0x32, 0xa7]);
    }
}
