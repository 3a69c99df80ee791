//! The network for programs on other cores: carries out what the sockets of crate `sockets` are told to do.
//!
//! Each place of a [`Network`] has a task, which waits for a socket in it, makes one of smoltcp's for it, and moves bytes
//! between smoltcp's buffers and the rings that it shares with the program, as far as there is room. A program that does not
//! read so closes its peer's window, and a peer that does not read fills the program's ring.

pub(crate) mod names;
mod tcp;
mod udp;

use sockets::Network;
use sockets::portal::Guest;

use crate::stack::Stack;

/// Serves one place of `network` for ever. Run one such task for each of [`sockets::network::PLACES`].
pub async fn serve(stack: &'static Stack, network: &'static Network, place: usize) -> ! {
    loop {
        match network.next_guest(place).await {
            Guest::Tcp(end) => tcp::serve(stack, end).await,
            Guest::Udp(end) => udp::serve(stack, end).await,
        }
    }
}

/// Answers questions about names in one place of `network` for ever. Run one such task for each of
/// [`sockets::name::QUESTIONS`].
pub async fn answer_questions(stack: &'static Stack, network: &'static Network, place: usize) -> ! {
    loop {
        let question = network.next_question(place).await;
        let address = names::find(stack, question.label()).await;
        question.answer(address);
    }
}
