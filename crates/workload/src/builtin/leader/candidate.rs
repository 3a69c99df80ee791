//! A candidate on the network: talks to the store, and claims the address for as long as it leads.

use core::pin::pin;

use embassy_futures::select::{Either3, select3};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use sockets::{AddressClaim, AddressLoss, AddressState, TcpSocket};

use super::Settings;
use super::figures::Figure;
use super::rules::{Next, Rules};
use super::talk::Lease;
use crate::{Context, Failure};

const STORE_PORT: u16 = 6379;
/// Bytes of the socket's rings.
const RING_LEN: usize = 1024;
/// The longest without a sign of progress.
const STEP: Duration = Duration::from_millis(500);
/// The store is asked again on a new connection when it has not answered for so many times the interval of requests: TCP would wait
/// longer and longer between its own attempts.
const PATIENCE: u32 = 2;
/// Who could not have the address leaves it to others for so many leases.
const ABSTENTION: u32 = 2;

/// Stands for election, for ever.
///
/// # Errors
///
/// When the address can't be had for good, or there is no place for a socket.
pub(super) async fn run(settings: &Settings<'_>, context: Context<'_>) -> Result<(), Failure> {
    let network = context.env().network();
    let mut socket = TcpSocket::open(network, RING_LEN, RING_LEN).await.map_err(Failure::because)?;
    let rules = Rules::new(settings.times, context.env().seed());
    let mut candidate = Candidate { settings, context, rules, term: None, claim: None, began: Instant::MIN };
    let patience = settings.times.renew * PATIENCE;
    loop {
        let connect = async {
            let peer = network.resolve_peer(settings.store, STORE_PORT).await?;
            socket.connect(peer).await
        };
        if let Ok(Ok(())) = candidate.meanwhile(with_timeout(patience, connect)).await? {
            candidate.talk(&mut socket, patience).await?;
        }
        socket.abort();
        candidate.count(Figure::Disconnects);
        context.add_errors(1);
        candidate.rules.disconnected();
        candidate.meanwhile(Timer::after(settings.times.renew)).await?;
    }
}

struct Candidate<'a> {
    settings: &'a Settings<'a>,
    context: Context<'a>,
    rules: Rules,
    /// The term that the claim is for.
    term: Option<u64>,
    claim: Option<(AddressClaim, AddressState)>,
    /// When the term began.
    began: Instant,
}

impl Candidate<'_> {
    /// Asks the store what there is to ask, until it does not answer.
    async fn talk(&mut self, socket: &mut TcpSocket, patience: Duration) -> Result<(), Failure> {
        let lease = Lease { key: self.settings.key, ms: self.settings.times.lease.as_millis() };
        loop {
            match self.rules.next(self.context.now()) {
                Next::Wait(until) => self.meanwhile(Timer::at(until)).await?,
                Next::Ask(question) => {
                    // The lease begins after this moment, however long the request takes.
                    let sent = self.context.now();
                    let asked = with_timeout(patience, lease.ask(socket, question));
                    let Ok(Ok(answer)) = self.meanwhile(asked).await? else { return Ok(()) };
                    let now = self.context.now();
                    self.context.add_operation(now - sent);
                    self.rules.answered(question, answer, sent, now);
                }
            }
        }
    }

    /// Does `work`, and meanwhile what the end of a term, and of the address, makes necessary.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let mut work = pin!(work);
        loop {
            self.settle()?;
            let step = self.context.now() + STEP;
            let end = self.rules.leads().map_or(step, |(_, until)| until.min(step));
            let claim = async {
                match &self.claim {
                    Some((claim, last)) => claim.wait_state(*last).await,
                    None => core::future::pending().await,
                }
            };
            if let Either3::First(output) = select3(work.as_mut(), Timer::at(end), claim).await {
                return Ok(output);
            }
        }
    }

    /// Brings the address, and what is shown, in line with the rules.
    fn settle(&mut self) -> Result<(), Failure> {
        let now = self.context.now();
        self.context.progress();
        self.rules.tick(now);
        if let Some((claim, state)) = &mut self.claim {
            let before = core::mem::replace(state, claim.state());
            match *state {
                AddressState::Held if before != AddressState::Held => {
                    self.context.measure(0, now - self.began);
                    self.context.set(Figure::TakenAt as usize, now.as_micros());
                }
                AddressState::Lost(loss) => self.lose(loss, now)?,
                _ => {}
            }
        }
        let leads = self.rules.leads();
        if leads.map(|(term, _)| term) != self.term {
            self.claim = None;
            if self.term.is_some() {
                self.count(Figure::StepDowns);
            }
            if let Some((term, until)) = leads {
                let claim = self.context.claim_address(self.settings.address, until).map_err(Failure::because)?;
                self.claim = Some((claim, AddressState::Asked));
                self.began = now;
                self.count(Figure::Terms);
                self.context.set(Figure::Term as usize, term);
            }
            self.term = leads.map(|(term, _)| term);
        } else if let (Some((_, until)), Some((claim, _))) = (leads, &self.claim) {
            claim.renew(until);
        }
        let is_held = matches!(&self.claim, Some((_, AddressState::Held)));
        self.context.set(Figure::IsLeader as usize, u64::from(leads.is_some()));
        self.context.set(Figure::AddressHeld as usize, u64::from(is_held));
        Ok(())
    }

    /// A leader without the address is none: another candidate may be able to have it.
    fn lose(&mut self, loss: AddressLoss, now: Instant) -> Result<(), Failure> {
        if let AddressLoss::Conflict(_) = loss {
            self.count(Figure::Conflicts);
        }
        // The others are what happens to every leader that loses its store, or its cable.
        if !matches!(loss, AddressLoss::Expired | AddressLoss::NoNetwork) {
            self.context.add_errors(1);
        }
        if loss.is_for_good() {
            return Err(Failure::because(format_args!("address={}: {loss}", self.settings.address)));
        }
        // That its time was over may be seen just as it is given more: no reason to leave it to others.
        let abstention = if loss == AddressLoss::Expired { 0 } else { ABSTENTION };
        self.rules.resign(now + self.settings.times.lease * abstention);
        Ok(())
    }

    fn count(&self, figure: Figure) {
        self.context.count(figure as usize, 1);
    }
}
