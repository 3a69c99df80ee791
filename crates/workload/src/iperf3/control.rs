//! The control connection: a cookie, then states of one byte and JSON with its length in front.

use alloc::string::String;
use alloc::vec;

use embassy_time::{Duration, with_timeout};
use embedded_io_async::{Read, ReadExactError, Write};
use sockets::{SocketError, TcpSocket};

use crate::iperf3::{Error, state};

/// How long a peer may take for a step, other than the test itself.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Room for messages on this connection, in each direction.
pub(super) const BUFFER_LEN: usize = 4096;
/// Longest JSON text that is read: results of the real iperf3 are some 150 bytes per stream.
const JSON_LEN_MAX: usize = 32 * 1024;

/// A control connection.
pub(super) struct Control<'a>(pub(super) &'a mut TcpSocket);

impl Control<'_> {
    /// Waits for the next state.
    pub(super) async fn read_state(&mut self) -> Result<u8, Error> {
        let mut state = [0];
        read_exact(self.0, &mut state).await?;
        Ok(u8::from_be_bytes(state))
    }

    /// Waits for `wanted`, as long as a step may take. What else may come is an error.
    pub(super) async fn expect(&mut self, wanted: u8) -> Result<(), Error> {
        match in_time(self.read_state()).await? {
            found if found == wanted => Ok(()),
            state::ACCESS_DENIED => Err(Error::Busy),
            state::SERVER_ERROR => {
                let mut number = [0; 4];
                in_time(read_exact(self.0, &mut number)).await?;
                Err(Error::Refused(u32::from_be_bytes(number)))
            }
            state::SERVER_TERMINATE | state::CLIENT_TERMINATE => Err(Error::Terminated),
            found => Err(Error::State(found)),
        }
    }

    pub(super) async fn send_state(&mut self, state: u8) -> Result<(), Error> {
        self.send(&[state]).await
    }

    /// Tells a client that there is an error, and which.
    pub(super) async fn send_error(&mut self, number: u32) -> Result<(), Error> {
        self.send(&[state::SERVER_ERROR]).await?;
        self.send(&number.to_be_bytes()).await?;
        // The system's error: none.
        self.send(&[0; 4]).await
    }

    pub(super) async fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        in_time(async { Ok(self.0.write_all(data).await?) }).await
    }

    pub(super) async fn send_json(&mut self, json: &str) -> Result<(), Error> {
        let len = u32::try_from(json.len()).map_err(|_| Error::Unreadable)?;
        self.send(&len.to_be_bytes()).await?;
        self.send(json.as_bytes()).await
    }

    pub(super) async fn read_json(&mut self) -> Result<String, Error> {
        in_time(async {
            let mut len = [0; 4];
            read_exact(self.0, &mut len).await?;
            let len = u32::from_be_bytes(len) as usize;
            if len > JSON_LEN_MAX {
                return Err(Error::Unreadable);
            }
            let mut text = vec![0; len];
            read_exact(self.0, &mut text).await?;
            String::from_utf8(text).map_err(|_| Error::Unreadable)
        })
        .await
    }
}

/// Gives up on a step that takes too long.
pub(super) async fn in_time<T>(step: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    with_timeout(STEP_TIMEOUT, step).await.unwrap_or(Err(Error::Timeout))
}

async fn read_exact(socket: &mut TcpSocket, buffer: &mut [u8]) -> Result<(), Error> {
    socket.read_exact(buffer).await.map_err(|error| match error {
        ReadExactError::UnexpectedEof => Error::Socket(SocketError::ConnectionReset),
        ReadExactError::Other(error) => Error::Socket(error),
    })
}
