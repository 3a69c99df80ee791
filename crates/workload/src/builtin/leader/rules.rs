//! Who leads, and until when: the rules, without any I/O.
//!
//! The lease is a key with an end at a store that all candidates know. Who sets it while it is not there has it, and says so again
//! before it ends. What is known of the lease is counted from the moment before the request was sent: the store began to count later.
//!
//! - **A leader that does not know is none.** It leads until the lease, less a margin, is over by its own clock.
//! - **A term is confirmed.** Its number is counted up after the lease was taken, and is good if the lease was still there after that.
//!   So numbers grow in the order of the leases, and who is told to do something by two leaders can tell the later one.
//! - **Every attempt has a value of its own**, so that nothing that was sent earlier can end or lengthen a lease of now.
//! - **A store that knows no term has lost its memory**, perhaps with a lease in it. Its first candidate takes the lease for nobody, and
//!   by the time that has ended, whatever the store has forgotten has ended too. Only who knows that it leads takes it for itself.

use embassy_time::{Duration, Instant};

use crate::random::Random;

/// The times that all candidates have to agree on, but for the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) lease: Duration,
    /// By how much less a leader uses of the lease.
    pub(super) margin: Duration,
    /// How long after one request to the store the next is sent.
    pub(super) renew: Duration,
}

/// What the store is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The number of the last term. The first on every connection.
    Meet,
    /// To set the lease to this value if it is not there, or to nobody's, and the number of the last term if that is not there.
    Found { value: Option<u64>, term: u64 },
    /// To add to the number of the last term.
    Lift { by: u64 },
    /// To set the lease to this value if it is not there; and the number of the last term.
    Take { value: u64 },
    /// To count the term up, and to lengthen the lease if it has this value.
    Confirm { value: u64 },
    /// To lengthen the lease if it has this value.
    Extend { value: u64 },
    /// To end the lease if it has this value.
    Release { value: u64 },
}

/// What it answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Whether the lease was set.
    pub(super) is_set: bool,
    /// The number of the last term, if it was asked for and there is one.
    pub(super) term: Option<u64>,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Ask(Question),
    Wait(Instant),
}

/// What is known of the store at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Unknown,
    /// It knows no term.
    New,
    /// It knows fewer terms than have been.
    Behind { by: u64 },
    Met,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Following,
    /// Has the lease, but no term yet.
    Elected,
    Leading { term: u64, until: Instant },
    /// May have the lease, and does not want it.
    Resigning,
}

/// The state of a candidate.
pub(super) struct Rules {
    times: Times,
    phase: Phase,
    store: Store,
    /// The last term that was heard of.
    seen: u64,
    /// What the lease is set to in this attempt.
    value: u64,
    values: Random,
    /// When the next request is due.
    due: Instant,
}

impl Rules {
    /// Makes a candidate; `seed` has to be another one for each.
    pub(super) fn new(times: Times, seed: u64) -> Self {
        let (phase, store) = (Phase::Following, Store::Unknown);
        Self { times, phase, store, seen: 0, value: 0, values: Random::new(seed), due: Instant::MIN }
    }

    /// Returns the number of the term in which it leads, and until when.
    pub(super) fn leads(&self) -> Option<(u64, Instant)> {
        match self.phase {
            Phase::Leading { term, until } => Some((term, until)),
            _ => None,
        }
    }

    /// Says what is to be done at `now` on a connection to the store.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        self.tick(now);
        match self.store {
            Store::Unknown => return Next::Ask(Question::Meet),
            Store::New => {
                let value = self.leads().map(|_| self.value);
                return Next::Ask(Question::Found { value, term: self.seen });
            }
            Store::Behind { by } => return Next::Ask(Question::Lift { by }),
            Store::Met => {}
        }
        let value = self.value;
        match self.phase {
            Phase::Elected => Next::Ask(Question::Confirm { value }),
            Phase::Resigning => Next::Ask(Question::Release { value }),
            _ if now < self.due => Next::Wait(self.due),
            Phase::Leading { .. } => Next::Ask(Question::Extend { value }),
            Phase::Following => {
                self.value = self.values.bits();
                Next::Ask(Question::Take { value: self.value })
            }
        }
    }

    /// Takes in the answer that has come at `now` to a question that was sent not before `sent`.
    pub(super) fn answered(&mut self, question: Question, answer: Answer, sent: Instant, now: Instant) {
        self.tick(now);
        let until = sent + (self.times.lease - self.times.margin);
        // Not before the end of an abstention that has begun while the request was under way.
        let next = |after: Instant, due: Instant| due.max(after + self.times.renew);
        let before = self.seen;
        if let Some(term) = answer.term.filter(|_| question != Question::Meet) {
            self.seen = self.seen.max(term);
        }
        match question {
            Question::Meet => {
                self.store = match answer.term {
                    None => Store::New,
                    Some(term) if term < self.seen => Store::Behind { by: self.seen - term },
                    Some(term) => {
                        self.seen = term;
                        Store::Met
                    }
                };
            }
            Question::Lift { .. } => self.store = Store::Met,
            Question::Found { value, .. } => {
                self.store = Store::Met;
                if value.is_some() {
                    self.prolong(answer.is_set, until, now);
                }
            }
            Question::Take { .. } => {
                self.due = next(now, self.due);
                if answer.term.is_none_or(|term| term < before) {
                    self.has_forgotten();
                } else if answer.is_set {
                    self.phase = Phase::Elected;
                }
            }
            Question::Confirm { .. } if answer.term.is_none_or(|term| term <= before) => {
                self.due = next(now, self.due);
                self.has_forgotten();
            }
            Question::Confirm { .. } => {
                self.due = next(sent, self.due);
                self.phase = match answer.term.filter(|_| answer.is_set) {
                    Some(term) if now < until => Phase::Leading { term, until },
                    Some(_) => Phase::Resigning,
                    None => Phase::Following,
                };
            }
            Question::Extend { .. } => {
                self.due = next(sent, self.due);
                self.prolong(answer.is_set, until, now);
            }
            Question::Release { .. } => self.phase = Phase::Following,
        }
    }

    /// Takes in that there is no connection any more, and that a new one begins.
    pub(super) fn disconnected(&mut self) {
        self.store = Store::Unknown;
        // Whether the store has set the lease is not known. A lease that nobody confirms ends by itself.
        if matches!(self.phase, Phase::Elected | Phase::Resigning) {
            self.phase = Phase::Following;
        }
    }

    /// Somebody has deleted the keys, and the connection is still there. If the lease is ours now, it is nobody's until it ends, and by
    /// then those that were forgotten have ended too.
    fn has_forgotten(&mut self) {
        self.store = Store::Unknown;
        self.phase = Phase::Following;
    }

    /// Gives up leading, and does not try again before `until`.
    pub(super) fn resign(&mut self, until: Instant) {
        if self.leads().is_some() {
            self.phase = Phase::Resigning;
            self.due = until;
        }
    }

    /// Ends what is over at `now`.
    pub(super) fn tick(&mut self, now: Instant) {
        if self.leads().is_some_and(|(_, until)| now >= until) {
            self.phase = Phase::Following;
        }
    }

    /// Leads on, if the lease was set.
    fn prolong(&mut self, is_set: bool, until: Instant, now: Instant) {
        self.phase = match self.phase {
            Phase::Leading { term, .. } if is_set && now < until => Phase::Leading { term, until },
            // It has stepped down meanwhile: the lease is of no use to it.
            _ if is_set => Phase::Resigning,
            _ => Phase::Following,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const TIMES: Times =
        Times { lease: Duration::from_millis(2000), margin: Duration::from_millis(500), renew: Duration::from_millis(400) };

    fn at(ms: u64) -> Instant {
        Instant::from_millis(1_000_000 + ms)
    }

    fn question(rules: &mut Rules, now: Instant) -> Question {
        match rules.next(now) {
            Next::Ask(question) => question,
            Next::Wait(until) => panic!("waits until {until}"),
        }
    }

    /// The store, as a server of Redis would do it.
    #[derive(Default)]
    struct Model {
        lease: Option<(Option<u64>, Instant)>,
        term: Option<u64>,
    }

    impl Model {
        fn set(&mut self, value: Option<u64>, only_if: Option<Option<u64>>, now: Instant, lasts: Duration) -> bool {
            let held = self.lease.filter(|(_, end)| now < *end).map(|(value, _)| value);
            let is_set = held == only_if;
            if is_set {
                self.lease = Some((value, now + lasts));
            }
            is_set
        }

        fn ask(&mut self, question: Question, now: Instant) -> Answer {
            let lease = TIMES.lease;
            let own = |value| Some(Some(value));
            match question {
                Question::Meet => Answer { is_set: false, term: self.term },
                Question::Found { value, term } => {
                    let is_set = self.set(value, None, now, lease);
                    self.term = self.term.or(Some(term));
                    Answer { is_set, term: None }
                }
                Question::Lift { by } => {
                    self.term = Some(self.term.unwrap_or(0) + by);
                    Answer { is_set: false, term: self.term }
                }
                Question::Take { value } => Answer { is_set: self.set(Some(value), None, now, lease), term: self.term },
                Question::Confirm { value } => {
                    self.term = Some(self.term.unwrap_or(0) + 1);
                    Answer { is_set: self.set(Some(value), own(value), now, lease), term: self.term }
                }
                Question::Extend { value } => {
                    Answer { is_set: self.set(Some(value), own(value), now, lease), term: None }
                }
                Question::Release { value } => Answer { is_set: self.set(Some(value), own(value), now, MS), term: None },
            }
        }
    }

    /// Has a candidate lead, from `now` on.
    fn leader(model: &mut Model, now: Instant) -> Rules {
        model.term = Some(7);
        let mut rules = Rules::new(TIMES, 1);
        for _ in 0..3 {
            let asked = question(&mut rules, now);
            rules.answered(asked, model.ask(asked, now), now, now);
        }
        assert_eq!(rules.leads(), Some((8, now + MS * 1500)));
        rules
    }

    #[test]
    fn a_term_begins_with_the_lease_and_is_lengthened_from_before_each_request() {
        let mut model = Model::default();
        let mut rules = leader(&mut model, at(0));
        assert_eq!(rules.next(at(1)), Next::Wait(at(400)));
        let asked = question(&mut rules, at(400));
        assert!(matches!(asked, Question::Extend { .. }));
        // The store is told at 450, and its answer comes at 700.
        rules.answered(asked, model.ask(asked, at(450)), at(400), at(700));
        assert_eq!(rules.leads(), Some((8, at(1900))), "counted from when it was sent");
        assert_eq!(rules.next(at(701)), Next::Wait(at(800)));
    }

    #[test]
    fn a_leader_without_an_answer_steps_down_before_others_can_lead() {
        let mut model = Model::default();
        let mut rules = leader(&mut model, at(0));
        let asked = question(&mut rules, at(400));
        rules.tick(at(1499));
        assert!(rules.leads().is_some());
        rules.tick(at(1500));
        assert_eq!(rules.leads(), None);
        // An answer that comes now is of no use: the lease is given back, so that others need not wait for its end.
        rules.answered(asked, model.ask(asked, at(1400)), at(400), at(1600));
        assert_eq!(rules.leads(), None);
        let asked = question(&mut rules, at(1600));
        assert!(matches!(asked, Question::Release { .. }));
        model.ask(asked, at(1600));
        assert!(model.ask(Question::Take { value: 99 }, at(1602)).is_set);
    }

    #[test]
    fn a_lease_that_is_another_s_ends_the_term_at_once() {
        let mut model = Model::default();
        let mut rules = leader(&mut model, at(0));
        model.lease = Some((Some(99), at(5000)));
        let asked = question(&mut rules, at(400));
        rules.answered(asked, model.ask(asked, at(401)), at(400), at(402));
        assert_eq!(rules.leads(), None);
        assert_eq!(model.lease, Some((Some(99), at(5000))), "not touched");
    }

    #[test]
    fn a_store_that_was_started_anew_belongs_to_nobody_but_the_one_who_leads() {
        // With a leader: it leads on, and terms go on.
        let mut model = Model::default();
        let mut rules = leader(&mut model, at(0));
        model = Model::default();
        rules.disconnected();
        for expected in [Question::Meet, Question::Found { value: Some(rules.value), term: 8 }] {
            let asked = question(&mut rules, at(300));
            assert_eq!(asked, expected);
            rules.answered(asked, model.ask(asked, at(310)), at(300), at(320));
        }
        assert_eq!((rules.leads(), model.term), (Some((8, at(1800))), Some(8)));
        // Without: nobody leads for a lease.
        let (mut model, mut other) = (Model::default(), Rules::new(TIMES, 2));
        other.seen = 8;
        for ms in 0..2000 {
            if let Next::Ask(asked) = other.next(at(ms)) {
                other.answered(asked, model.ask(asked, at(ms)), at(ms), at(ms));
            }
            assert_eq!(other.leads(), None, "at {ms} ms");
        }
        for ms in 2000..2500 {
            if let Next::Ask(asked) = other.next(at(ms)) {
                other.answered(asked, model.ask(asked, at(ms)), at(ms), at(ms));
            }
        }
        assert_eq!(other.leads().map(|(term, _)| term), Some(9), "later than all that were");
    }

    #[test]
    fn keys_that_somebody_deletes_are_noticed_and_terms_go_on() {
        let mut model = Model::default();
        let mut leader = leader(&mut model, at(0));
        let mut other = Rules::new(TIMES, 2);
        let run = |rules: &mut Rules, model: &mut Model, ms| {
            if let Next::Ask(asked) = rules.next(at(ms)) {
                rules.answered(asked, model.ask(asked, at(ms)), at(ms), at(ms));
            }
        };
        (0..3).for_each(|_| run(&mut other, &mut model, 1));
        model = Model::default();
        // The leader is cut off: it leads until 1500.
        for ms in 2..2400 {
            run(&mut other, &mut model, ms);
            assert_eq!(other.leads(), None, "at {ms} ms");
        }
        leader.tick(at(1500));
        assert_eq!(leader.leads(), None);
        (2400..3500).for_each(|ms| run(&mut other, &mut model, ms));
        assert_eq!(other.leads().map(|(term, _)| term), Some(9), "later than all that were");
    }

    #[test]
    fn who_gives_up_lets_others_lead_and_comes_back_later() {
        let mut model = Model::default();
        let mut rules = leader(&mut model, at(0));
        rules.resign(at(4000));
        assert_eq!(rules.leads(), None);
        let asked = question(&mut rules, at(1));
        rules.answered(asked, model.ask(asked, at(1)), at(1), at(1));
        assert!(model.ask(Question::Take { value: 99 }, at(3)).is_set);
        assert_eq!(rules.next(at(3)), Next::Wait(at(4000)));
    }

    #[test]
    fn who_gives_up_while_a_request_is_under_way_stays_away_as_long() {
        let mut model = Model::default();
        let mut rules = leader(&mut model, at(0));
        let asked = question(&mut rules, at(400));
        rules.resign(at(4000));
        rules.answered(asked, model.ask(asked, at(401)), at(400), at(402));
        let asked = question(&mut rules, at(402));
        assert!(matches!(asked, Question::Release { .. }));
        rules.answered(asked, model.ask(asked, at(403)), at(402), at(404));
        assert_eq!(rules.next(at(404)), Next::Wait(at(4000)));
    }

    /// A candidate with its connection, on a network that delays and loses, and with a scheduler that lets it stand still.
    struct Actor {
        rules: Rules,
        /// What is under way: when it reaches the store, and what it is; the answer then, and when it is there.
        sent: Option<(Question, Instant, Instant)>,
        answer: Option<(Question, Answer, Instant, Instant)>,
        asleep: Instant,
    }

    /// Returns how long something is under way: most of it arrives soon.
    fn delay(random: &mut Random) -> Duration {
        let most = if random.below(9) == 0 { 2500 } else { 30 };
        MS * u32::try_from(random.below(most)).unwrap()
    }

    #[test]
    fn whatever_happens_there_is_one_leader_at_most_and_terms_only_grow() {
        let (mut leaders, mut restarts) = (0, 0);
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut model = Model::default();
            let new = |i: u64| Actor { rules: Rules::new(TIMES, seed * 10 + i), sent: None, answer: None, asleep: at(0) };
            let mut actors: Vec<Actor> = (0..3).map(new).collect();
            let (mut last_term, mut is_restarted) = (0, false);
            for ms in (0..60_000).step_by(5) {
                let now = at(ms);
                if random.below(4000) == 0 {
                    // The store forgets everything, and everybody loses the connection, or nobody does.
                    model = Model::default();
                    let is_restart = random.below(2) == 0;
                    actors.iter_mut().filter(|_| is_restart).for_each(|actor| {
                        (actor.sent, actor.answer) = (None, None);
                        actor.rules.disconnected();
                    });
                    (is_restarted, restarts) = (true, restarts + 1);
                }
                for actor in &mut actors {
                    if let Some((question, sent, arrives)) = actor.sent
                        && now >= arrives
                    {
                        // What arrives is done, whether its sender still waits for it or not.
                        actor.sent = None;
                        let answer = model.ask(question, now);
                        let delay = delay(&mut random);
                        actor.answer = Some((question, answer, sent, now + delay));
                    }
                    if now < actor.asleep {
                        continue;
                    }
                    if random.below(1000) == 0 {
                        actor.asleep = now + MS * u32::try_from(random.below(4000)).unwrap();
                        continue;
                    }
                    if let Some((question, answer, sent, there)) = actor.answer
                        && now >= there
                    {
                        actor.answer = None;
                        actor.rules.answered(question, answer, sent, now);
                        if let Question::Confirm { .. } = question
                            && let Some((term, _)) = actor.rules.leads()
                        {
                            leaders += 1;
                            assert!(term > last_term || is_restarted, "seed {seed}: term {term} after {last_term}");
                            last_term = last_term.max(term);
                        }
                    }
                    if actor.sent.is_none() && actor.answer.is_none() {
                        if let Next::Ask(question) = actor.rules.next(now) {
                            let delay = delay(&mut random);
                            actor.sent = Some((question, now, now + delay));
                        }
                    } else if random.below(100) == 0 {
                        // It has waited long enough, and connects anew. What it has sent may still arrive, or not.
                        if actor.sent.is_some_and(|_| random.below(2) == 0) {
                            let (question, ..) = actor.sent.unwrap();
                            model.ask(question, now);
                        }
                        (actor.sent, actor.answer) = (None, None);
                        actor.rules.disconnected();
                    }
                }
                // Who stands still does not step down, but the network stack takes the address away at that moment.
                let holders = actors.iter().filter(|actor| actor.rules.leads().is_some_and(|(_, until)| now < until));
                assert!(holders.count() <= 1, "seed {seed}: two leaders after {ms} ms");
            }
        }
        assert!(leaders > 1000 && restarts > 300, "{leaders} terms, {restarts} restarts: too few to tell");
    }
}
