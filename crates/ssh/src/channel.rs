//! The session channel (RFC 4254): one terminal, or one command, with its input and its outputs.

use alloc::collections::VecDeque;

use heapless::String;

use crate::connection::Error;
use crate::message::{self, EXTENDED_DATA_STDERR, OpenFailure};
use crate::packet::Sender;
use crate::wire::{Malformed, Reader};

/// Bytes that the client may send before we have used them.
const INPUT_LEN: u32 = 8 * 1024;
/// Longest command.
pub const COMMAND_LEN_MAX: usize = 512;
/// Our number of the channel: there is one at a time.
const NUMBER: u32 = 0;
/// Bytes of a message before its data, with extended data.
const DATA_HEADER_LEN: usize = 13;

/// Size of the user's terminal, in characters; 0 if that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terminal {
    /// Characters in a row.
    pub columns: u32,
    /// Rows.
    pub rows: u32,
}

/// Where output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the client's standard output.
    Normal,
    /// To the client's standard error.
    Error,
}

/// What a client wants of its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing that concerns others.
    None,
    Shell,
    Exec,
}

/// An open channel.
#[derive(Debug)]
pub(crate) struct Channel {
    /// The client's number of it.
    peer: u32,
    /// Bytes that the client still takes.
    window: u32,
    /// Most bytes that it takes at once.
    packet_len_max: u32,
    /// Bytes that the client may still send.
    credit: u32,
    pub(crate) input: VecDeque<u8>,
    pub(crate) terminal: Option<Terminal>,
    pub(crate) command: String<COMMAND_LEN_MAX>,
    is_started: bool,
    /// The client will send no more.
    pub(crate) is_input_ended: bool,
    /// We have said good-bye.
    is_closing: bool,
    /// The client has.
    pub(crate) is_closed: bool,
}

/// Answers a request to open a channel.
pub(crate) fn open(payload: &[u8], channel: &mut Option<Channel>, sender: &mut Sender) -> Result<(), Error> {
    let mut reader = Reader::new(payload);
    reader.byte()?;
    let (kind, peer) = (reader.string()?, reader.number()?);
    let (window, packet_len_max) = (reader.number()?, reader.number()?);
    let refusal = match kind {
        b"session" if channel.is_none() => None,
        b"session" => Some((OpenFailure::Shortage, "one session at a time on each connection")),
        b"direct-tcpip" | b"forwarded-tcpip" | b"x11" | b"direct-streamlocal@openssh.com" => {
            Some((OpenFailure::Prohibited, "a node forwards nothing"))
        }
        _ => Some((OpenFailure::UnknownType, "unknown kind of channel")),
    };
    if let Some((reason, text)) = refusal {
        return sender.send(&mut |out| {
            out.byte(message::CHANNEL_OPEN_FAILURE);
            out.number(peer);
            out.number(reason as u32);
            out.string(text.as_bytes());
            out.string(b"en");
        });
    }
    let mut input = VecDeque::new();
    input.try_reserve_exact(INPUT_LEN as usize).map_err(|_| Error::NoMemory)?;
    *channel = Some(Channel {
        peer,
        window,
        packet_len_max,
        credit: INPUT_LEN,
        input,
        terminal: None,
        command: String::new(),
        is_started: false,
        is_input_ended: false,
        is_closing: false,
        is_closed: false,
    });
    sender.send(&mut |out| {
        out.byte(message::CHANNEL_OPEN_CONFIRMATION);
        out.number(peer);
        out.number(NUMBER);
        out.number(INPUT_LEN);
        out.number(INPUT_LEN);
    })
}

impl Channel {
    /// Takes a message for the channel.
    pub(crate) fn take(&mut self, payload: &[u8], sender: &mut Sender) -> Result<Wish, Error> {
        let mut reader = Reader::new(payload);
        let (number, channel) = (reader.byte()?, reader.number()?);
        if channel != NUMBER || self.is_closed {
            return Err(Error::Unexpected(number));
        }
        match number {
            message::CHANNEL_WINDOW_ADJUST => self.window = self.window.saturating_add(reader.number()?),
            message::CHANNEL_DATA => self.take_data(reader.string()?)?,
            // There is no kind of it that a client may send; it uses up the window all the same.
            message::CHANNEL_EXTENDED_DATA => {
                reader.number()?;
                let len = reader.string()?.len() as u32;
                self.credit = self.credit.checked_sub(len).ok_or(Error::Window)?;
            }
            message::CHANNEL_EOF => self.is_input_ended = true,
            message::CHANNEL_CLOSE => {
                self.is_closed = true;
                self.is_input_ended = true;
                self.close(sender)?;
            }
            message::CHANNEL_REQUEST => return self.take_request(reader, sender),
            // Answers to requests, of which we make none that want one.
            message::CHANNEL_SUCCESS | message::CHANNEL_FAILURE => {}
            _ => return Err(Error::Unexpected(number)),
        }
        Ok(Wish::None)
    }

    fn take_data(&mut self, data: &[u8]) -> Result<(), Error> {
        self.credit = self.credit.checked_sub(data.len() as u32).ok_or(Error::Window)?;
        // There is room: the window is no larger.
        self.input.extend(data);
        Ok(())
    }

    fn take_request(&mut self, mut reader: Reader<'_>, sender: &mut Sender) -> Result<Wish, Error> {
        let (kind, wants_reply) = (reader.string()?, reader.boolean()?);
        let answer = match kind {
            b"pty-req" => {
                let _type = reader.string()?;
                self.terminal = Some(read_size(&mut reader)?);
                Some(Wish::None)
            }
            b"window-change" => {
                let size = read_size(&mut reader)?;
                self.terminal.as_mut().map(|terminal| {
                    *terminal = size;
                    Wish::None
                })
            }
            b"shell" if !self.is_started => Some(Wish::Shell),
            b"exec" if !self.is_started => {
                let command = reader.text().ok().and_then(|command| command.try_into().ok());
                command.map(|command| {
                    self.command = command;
                    Wish::Exec
                })
            }
            // Environment, agent, X11, subsystems such as SFTP, signals: not here.
            _ => None,
        };
        if wants_reply {
            let reply = if answer.is_some() { message::CHANNEL_SUCCESS } else { message::CHANNEL_FAILURE };
            sender.send(&mut |out| {
                out.byte(reply);
                out.number(self.peer);
            })?;
        }
        let wish = answer.unwrap_or(Wish::None);
        self.is_started |= wish != Wish::None;
        Ok(wish)
    }

    /// Allows the client to send as much again as was used of its input. Not for every byte, but when half is used.
    pub(crate) fn extend_credit(&mut self, sender: &mut Sender) -> Result<(), Error> {
        let credit = INPUT_LEN - self.input.len() as u32;
        let used = credit.saturating_sub(self.credit);
        if used < INPUT_LEN / 2 || self.is_input_ended {
            return Ok(());
        }
        self.credit = credit;
        sender.send(&mut |out| {
            out.byte(message::CHANNEL_WINDOW_ADJUST);
            out.number(self.peer);
            out.number(used);
        })
    }

    /// Sends as much of `data` as the client takes and has room now, and returns how much that is.
    pub(crate) fn write(&mut self, output: Output, data: &[u8], sender: &mut Sender) -> Result<usize, Error> {
        if self.is_closing {
            return Err(Error::Closed);
        }
        let room = sender.room().saturating_sub(DATA_HEADER_LEN);
        let len = data.len().min(room).min(self.window as usize).min(self.packet_len_max as usize);
        let data = data.get(..len).unwrap_or_default();
        if data.is_empty() {
            return Ok(0);
        }
        self.window -= len as u32;
        sender.send(&mut |out| {
            match output {
                Output::Normal => out.byte(message::CHANNEL_DATA),
                Output::Error => out.byte(message::CHANNEL_EXTENDED_DATA),
            }
            out.number(self.peer);
            if output == Output::Error {
                out.number(EXTENDED_DATA_STDERR);
            }
            out.string(data);
        })?;
        Ok(len)
    }

    /// Tells how the command went, and closes the channel from our side.
    pub(crate) fn exit(&mut self, status: u32, sender: &mut Sender) -> Result<(), Error> {
        if self.is_closing {
            return Ok(());
        }
        sender.send(&mut |out| {
            out.byte(message::CHANNEL_REQUEST);
            out.number(self.peer);
            out.string(b"exit-status");
            out.boolean(false);
            out.number(status);
        })?;
        sender.send(&mut |out| {
            out.byte(message::CHANNEL_EOF);
            out.number(self.peer);
        })?;
        self.close(sender)
    }

    fn close(&mut self, sender: &mut Sender) -> Result<(), Error> {
        if self.is_closing {
            return Ok(());
        }
        self.is_closing = true;
        sender.send(&mut |out| {
            out.byte(message::CHANNEL_CLOSE);
            out.number(self.peer);
        })
    }
}

fn read_size(reader: &mut Reader<'_>) -> Result<Terminal, Malformed> {
    Ok(Terminal { columns: reader.number()?, rows: reader.number()? })
}
