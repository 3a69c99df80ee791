//! Answers that wait until replicas have confirmed (`acks`).
//!
//! Each answer to a command on keys, reads too, waits for a word that replicas have said after the command was done. So what
//! was answered is at the replicas, and who answers was still followed by them: a store that was cut off while another took its
//! place answers nothing any more. Without the word of replicas for reads, it would go on to give what it has.

use core::future::poll_fn;
use core::task::{Context, Poll};

use embassy_time::{Duration, with_timeout};

use super::feed::REPLICAS_MAX;
use super::serve::Shared;
use super::session::{Server, Session};

/// A client whose answer is not confirmed for so long is cut off: what it asked for may have been done, and may be undone.
const TIMEOUT: Duration = Duration::from_secs(2);

/// For each place for a replica, which one was asked and what it has to confirm.
type Asked = [Option<(u64, u64)>; REPLICAS_MAX];

impl Shared<'_> {
    /// Waits until enough replicas have confirmed what a client is to be told; returns false when it must not be told.
    pub(super) async fn confirm(&self, session: &mut Session) -> bool {
        if !core::mem::take(&mut session.is_unconfirmed) || session.out.is_empty() {
            return true;
        }
        let Some(reign) = self.lock().map(|server| server.facts.reign) else { return false };
        let mut asked = Asked::default();
        let is_confirmed = poll_fn(|cx| {
            self.register(cx);
            let Some(mut server) = self.lock() else { return Poll::Pending };
            if server.facts.reign != reign {
                return Poll::Ready(false);
            }
            let before = asked;
            let confirmed = count(&mut server, &mut asked);
            drop(server);
            if asked != before {
                self.wake_links();
            }
            let acks = self.lock().map_or(usize::MAX, |server| server.facts.acks);
            if confirmed >= acks { Poll::Ready(true) } else { Poll::Pending }
        });
        let is_confirmed = with_timeout(TIMEOUT, is_confirmed).await.unwrap_or(false);
        if !is_confirmed && let Some(mut server) = self.lock() {
            server.facts.unconfirmed += 1;
        }
        is_confirmed
    }

    fn register(&self, cx: &Context<'_>) {
        if let Ok(mut waiting) = self.confirmed.try_lock() {
            waiting.register(cx.waker());
        }
    }

    /// Has all that wait for replicas look again.
    pub(super) fn wake_waiting(&self) {
        if let Ok(mut waiting) = self.confirmed.try_lock() {
            waiting.wake();
        }
    }
}

/// Asks replicas that were not asked yet and have all that there is; returns how many have confirmed.
fn count(server: &mut Server, asked: &mut Asked) -> usize {
    let buckets = server.store.bucket_count();
    let mut confirmed = 0;
    for (number, asked) in asked.iter_mut().enumerate() {
        let Some(link) = server.store.feed.at(number).filter(|link| !link.is_broken && link.cursor >= buckets) else {
            *asked = None;
            continue;
        };
        match asked {
            Some((edition, offset)) if *edition == link.edition => {
                confirmed += usize::from(link.acknowledged >= *offset);
            }
            _ => {
                link.ask();
                *asked = Some((link.edition, link.offset));
            }
        }
    }
    confirmed
}
