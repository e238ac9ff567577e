//! How a group shows events to its listener, and what follows from what it says.

use std::sync::Arc;

use mailhorn_events::{Happened, Position};
use mailhorn_ports::Letter;
use tokio::time::Instant;

use super::{PARKED_PROBED_MAX, Worker};
use crate::events::call::{Ended, Then};
use crate::events::schedule::{Lane, Turn};
use crate::events::standing::{PARKED_MAX, Standing, retry_pause};

impl Worker {
    /// Begins as many calls as may be.
    pub(super) fn give_out(&mut self) {
        let now = Instant::now();
        let allowed = self.standing.allows(now, self.schedule.running());
        // By the same clock as what is due now: between two looks at it an event could become due and be seen by neither.
        // One that is due and can't run yet is seen again when the call ends that keeps it.
        self.retry_at = self.lot.next_due_after(now).filter(|_| allowed > 0);
        if allowed == 0 {
            return;
        }
        let is_probe = allowed == 1;
        let fresh_first = is_probe && self.lot.len() < PARKED_PROBED_MAX;
        if fresh_first && let Some(turn) = self.schedule.next(1) {
            return self.call(turn, None, true);
        }
        let counts = !(is_probe && self.lot.is_crowded());
        for id in self.lot.due(now) {
            let Some(parked) = self.lot.get(id).cloned() else {
                continue;
            };
            let lane = Lane::of(parked.happened.event());
            if let Some(turn) = self.schedule.hold(lane, parked.happened) {
                self.lot.tried(id);
                self.call(turn, Some(parked.letter), counts);
                if is_probe {
                    return;
                }
            }
        }
        if is_probe {
            if self.schedule.running() == 0 && self.schedule.waiting() == 0 && self.lot.len() == 0 {
                // There is nothing to try it with: what comes next finds out.
                self.standing.succeeded();
            }
            return;
        }
        while let Some(turn) = self.schedule.next(allowed) {
            self.call(turn, None, true);
        }
    }

    pub(super) fn call(&mut self, turn: Turn<Happened>, retried: Option<Letter>, counts: bool) {
        self.deps.kind.queued();
        let (begun, kind) = (Instant::now(), Arc::clone(&self.deps.kind));
        let count = turn.jobs.len() as u64;
        let call = Arc::clone(&self.deps.call).call(turn, retried, counts);
        self.calls.push(Box::pin(async move {
            let ended = call.await;
            kind.taken(1);
            kind.handled(count, begun);
            ended
        }));
    }

    /// A call has ended.
    pub(super) fn ended(&mut self, ended: Ended) {
        let Ended {
            turn,
            retried,
            done,
            then,
        } = ended;
        self.is_shown_late = true;
        let mut jobs = self.schedule.ended(turn);
        if let Some(letter) = retried {
            if let Some((_, happened)) = jobs.pop() {
                self.retry_ended(&letter, happened, then);
            }
            return;
        }
        let mut rest = jobs.split_off(done.min(jobs.len()));
        self.deps.figures.done.inc_by(jobs.len() as u64);
        for (_, happened) in &jobs {
            self.finished(happened.position());
        }
        if !jobs.is_empty() {
            self.goes_on();
        }
        match then {
            Then::AllDone => {}
            Then::Parked(letter) => {
                let (_, happened) = rest.remove(0);
                self.finished(happened.position());
                self.deps.figures.bad.inc_by(1);
                self.park(letter, happened);
            }
            Then::Dead(letter) => {
                let (_, happened) = rest.remove(0);
                self.finished(happened.position());
                self.died(&letter);
            }
            Then::NotNow(why) => self.stop(why),
            Then::Singly(why) => {
                tracing::warn!(group = %self.deps.call.group, %why, events = rest.len(), "a call with several events was lost: they go one by one");
                self.schedule.singly(rest.len());
            }
        }
        self.schedule.put_back(rest);
    }

    pub(super) fn retry_ended(&mut self, before: &Letter, happened: Happened, then: Then) {
        match then {
            Then::AllDone => {
                self.lot.remove(before.id);
                self.deps.figures.done.inc_by(1);
                self.goes_on();
            }
            Then::Parked(letter) => {
                self.deps.figures.bad.inc_by(1);
                self.park(letter, happened);
            }
            Then::Dead(letter) => {
                self.lot.remove(letter.id);
                self.died(&letter);
                self.goes_on();
            }
            Then::NotNow(why) => {
                self.lot.put_back(before.id, Instant::now());
                self.stop(why);
            }
            Then::Singly(_) => self.lot.put_back(before.id, Instant::now()),
        }
    }

    /// An event is parked in the store; here its next try is planned.
    pub(super) fn park(&mut self, letter: Letter, happened: Happened) {
        let random = u64::from_be_bytes(self.deps.call.ids.random_octets());
        let pause = retry_pause(&self.deps.call.options, letter.attempts, random);
        tracing::debug!(group = %self.deps.call.group, event = %letter.id, attempts = letter.attempts, why = letter.why, "an event is parked");
        let why = letter.why.clone();
        self.lot.park(letter, happened, Instant::now() + pause);
        if self.lot.is_crowded() {
            self.deps.metrics.limit("parked_events_max");
            self.stop(format!(
                "more than {PARKED_MAX} events are parked, the last one: {why}"
            ));
        } else {
            self.goes_on();
        }
    }

    pub(super) fn died(&mut self, letter: &Letter) {
        self.deps.figures.dead.inc_by(1);
        tracing::error!(group = %self.deps.call.group, event = %letter.id, attempts = letter.attempts, why = letter.why, "an event is a dead letter");
    }

    pub(super) fn goes_on(&mut self) {
        if self.standing.succeeded() {
            tracing::info!(group = %self.deps.call.group, "the group goes on");
            self.show();
        }
    }

    pub(super) fn stop(&mut self, why: String) {
        if self.standing == Standing::Running {
            tracing::warn!(group = %self.deps.call.group, %why, "the group waits: nothing is lost, its events stay in the log");
        }
        self.standing
            .stop(Instant::now(), self.deps.call.options.retry_pause, why);
        self.show();
    }

    pub(super) fn finished(&mut self, position: Position) {
        let Some(followed) = self.lines.get_mut(&position.generation) else {
            return;
        };
        if followed.line.event_finished(position.number)
            && position.generation == self.deps.members.borrow().me()
        {
            self.deps.sync.had(position.number);
        }
    }
}
