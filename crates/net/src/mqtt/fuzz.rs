//! Any bytes as what a broker says.

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use super::*;

/// Messages that there are to publish.
const MESSAGES: u64 = 20;

/// Publishes on two connections in a row, the second of which may go on with the first one's session; what the broker says
/// comes in pieces of different lengths, which must make no difference.
pub fn run(data: &[u8]) {
    let Some((split, said)) = data.split_first() else { return };
    let (first, second) = said.split_at(said.len().min(usize::from(*split)));
    let whole = publish([first, second], usize::MAX);
    assert_eq!(publish([first, second], 3), whole, "pieces of three bytes");
}

/// Returns what became of each connection, how many bytes were sent, and up to which message all have arrived.
fn publish(said: [&[u8]; 2], piece: usize) -> ([Option<Trouble>; 2], usize, u64) {
    let settings = Settings { client: "pi".into(), user: None, root: "r".into() };
    let (mut rx, mut tx) = (vec![0; RX_LEN], vec![0; TX_LEN]);
    let mut topics = Topics { root: "r", text: String::new() };
    let Ok(config) = config(&settings, Buffers::new(&mut rx, &mut tx), &mut topics) else { return Default::default() };
    let mut session = Session::new(config);
    let mut progress = Progress { next: 1, under_way: VecDeque::new() };
    let mut messages = Messages { read: 0, acknowledged: 0 };
    let (counters, mut sent) = (Counters::new(), 0);
    let ends = said.map(|said| {
        // A broker that says nothing does not accept the connection either.
        let publishing = pin!(async {
            let wire = Scripted { said, piece, sent: &mut sent };
            let connection = session.connect(wire).await?;
            progress.resume(|op| connection.is_invalidated(op));
            let (topics, progress) = (&mut topics, &mut progress);
            let mut connection = Connection { connection, counters: &counters, topics, progress };
            connection.run(&mut messages).await
        });
        match publishing.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(trouble)) => Some(trouble),
            Poll::Ready(Ok(never)) => match never {},
            Poll::Pending => None,
        }
    });
    // On each connection three greetings, and no message more than twice.
    assert!(sent < 2 * (MESSAGES as usize + 3) * 100 + 1000, "{sent} bytes");
    (ends, sent, messages.acknowledged)
}

/// Numbered messages, all there from the beginning.
struct Messages {
    read: u64,
    acknowledged: u64,
}

impl Queue for Messages {
    fn read(&mut self, number: u64, payload: &mut Vec<u8>) -> Option<(u64, &'static str)> {
        assert!(number > self.acknowledged, "{number} has arrived and is asked for again");
        payload.clear();
        payload.extend_from_slice(b"payload");
        self.read = self.read.max(number);
        (number <= MESSAGES).then_some((number, "sample"))
    }

    fn acknowledge(&mut self, number: u64) {
        assert!(number > self.acknowledged && number <= self.read, "{number} can't have arrived");
        self.acknowledged = number;
    }

    async fn wait(&mut self) {
        pending().await
    }

    fn greet(&mut self, number: usize, payload: &mut Vec<u8>) -> Option<&'static str> {
        payload.clear();
        (number < 2).then_some("birth")
    }
}

/// A broker that has said everything before it was asked, and then is gone.
struct Scripted<'s> {
    said: &'s [u8],
    piece: usize,
    sent: &'s mut usize,
}

impl ErrorType for Scripted<'_> {
    type Error = TcpError;
}

impl Read for Scripted<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TcpError> {
        let len = buffer.len().min(self.piece).min(self.said.len());
        let (now, later) = self.said.split_at(len);
        buffer.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
        self.said = later;
        Ok(len)
    }
}

impl Write for Scripted<'_> {
    async fn write(&mut self, data: &[u8]) -> Result<usize, TcpError> {
        *self.sent += data.len();
        Ok(data.len())
    }

    async fn flush(&mut self) -> Result<(), TcpError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CONNACK without properties, and PUBACKs of the first two messages (MQTT 5, sections 3.2 and 3.4).
    const GOOD: [u8; 13] = [0x20, 3, 0, 0, 0, 0x40, 2, 0, 1, 0x40, 2, 0, 2];

    #[test]
    fn it_holds_for_a_good_broker_and_for_others() {
        let mut data = vec![200];
        data.extend(GOOD);
        run(&data);
        run(b"\x05\x20\x03\0\0\0HTTP/1.1 400 Bad Request\r\n\r\n");
        run(b"");
    }

    #[test]
    fn what_it_publishes_is_acknowledged() {
        let (ends, sent, _) = publish([&GOOD, &[]], usize::MAX);
        assert_eq!(ends[0], Some(Trouble::Ended));
        assert!(sent > 100, "{sent}");
    }
}
