//! Streams over TCP.

use embassy_time::Timer;
use sockets::TcpSocket;

use crate::iperf3::results::Counts;
use crate::iperf3::run::Run;

/// Room for data: what a fast path holds while core 0 is busy for a few milliseconds.
pub(super) const BUFFER_LEN: usize = 64 * 1024;
/// A stream lets go of the core after this many bytes: less than a millisecond.
const TURN_LEN: usize = 128 * 1024;

/// A stream.
pub(super) struct Stream {
    pub(super) socket: TcpSocket,
    pub(super) is_sender: bool,
    pub(super) counts: Counts,
    pub(super) has_begun: bool,
}

impl Stream {
    pub(super) fn new(socket: TcpSocket, is_sender: bool) -> Self {
        Self { socket, is_sender, counts: Counts::default(), has_begun: false }
    }

    /// Moves data until the connection ends or, if this side decides about that, enough is moved.
    pub(super) async fn run(&mut self, run: &Run<'_>, is_client: bool) {
        if self.is_sender { self.send(run, is_client).await } else { self.receive(run).await }
    }

    async fn send(&mut self, run: &Run<'_>, is_client: bool) {
        let block_len = usize::try_from(run.settings.len).unwrap_or(usize::MAX);
        let (mut sent, mut turn_left) = (0, TURN_LEN);
        while !(is_client && run.is_enough()) {
            let due = run.due(sent);
            if due > run.context.now() {
                Timer::at(due).await;
            }
            let mut block_left = block_len;
            while block_left > 0 {
                // What the ring holds from before is as good as anything.
                let put = |room: &mut [u8]| (room.len().min(block_left), room.len().min(block_left));
                let Ok(len) = self.socket.write_with(put).await else { return };
                block_left -= len;
                sent += len as u64;
                run.count(&mut self.counts, &mut self.has_begun, len);
                turn_left = turn_left.saturating_sub(len);
                if turn_left == 0 {
                    turn_left = TURN_LEN;
                    run.context.pause().await;
                }
            }
            run.count_block();
        }
    }

    async fn receive(&mut self, run: &Run<'_>) {
        let block_len = run.settings.len.max(1);
        let (mut received, mut turn_left) = (0, TURN_LEN);
        while let Ok(Some(len)) = self.socket.read_with(|bytes| (bytes.len(), bytes.len())).await {
            run.count(&mut self.counts, &mut self.has_begun, len);
            received += len as u64;
            while received >= block_len {
                received -= block_len;
                run.count_block();
            }
            turn_left = turn_left.saturating_sub(len);
            if turn_left == 0 {
                turn_left = TURN_LEN;
                run.context.pause().await;
            }
        }
    }
}
