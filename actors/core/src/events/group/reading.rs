//! Which logs a group follows, and how it takes up their records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mailhorn_events::{EventId, Generation, Happened, Position, Record, Stamp};
use mailhorn_ports::{Cursor, Letter, LogEntry, StoreError, Unreadable};
use tokio::time::Instant;

use super::{
    ENDED_POLL_PAUSE, FOREIGN_POLL_PAUSE, Followed, READ_RECORDS_MAX, REBUILD_TIMEOUT, Stop,
    WAITING_EVENTS_MAX, Worker,
};
use crate::events::attempt::{bounded, handles};
use crate::events::call::opened;
use crate::events::line::{Line, Read};
use crate::events::schedule::Lane;
use crate::events::standing::STOPPED_PAUSE_MAX;

impl Worker {
    /// Takes up the logs that are this node's to follow, and leaves the others. False when the store does not say.
    pub(super) async fn follow(&mut self) -> bool {
        match self.try_follow().await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(group = %self.deps.call.group, %error, "a group can't find out which logs it follows");
                false
            }
        }
    }

    /// Leaves what others follow by now, and plans to take up what it is to follow itself. It asks nobody: what it read of
    /// such a log while the store took its time, two nodes would show.
    fn leave(&mut self) {
        let members = Arc::clone(&self.deps.members.borrow());
        if Arc::ptr_eq(&members, &self.members) {
            return;
        }
        let (group, scope) = (&self.deps.call.group, self.deps.scope);
        self.lines.retain(|log, _| members.follows(*log, group, scope));
        self.members = members;
        self.follow_at = Some(Instant::now());
    }

    pub(super) async fn try_follow(&mut self) -> Result<(), StoreError> {
        self.leave();
        let members = Arc::clone(&self.members);
        let (group, store) = (&self.deps.call.group, &self.deps.call.store);
        let follows = |log: &Generation| members.follows(*log, group, self.deps.scope);
        let logs = self.deps.mail.logs().await?.into_iter().map(|(log, _)| log);
        // What is parked outlives its log.
        let parked = store.parked_logs(group).await?;
        let logs: BTreeSet<Generation> = logs.chain(parked).chain([members.me()]).collect();
        let new: Vec<Generation> = logs
            .into_iter()
            .filter(|log| follows(log) && !self.lines.contains_key(log))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let cursors: BTreeMap<Generation, Cursor> = store.cursors(group).await?.into_iter().collect();
        for log in new {
            let parked = store.parked(group, log).await?;
            let cursor = cursors.get(&log).cloned().unwrap_or_default();
            let followed = Followed {
                end: cursor.taken,
                line: Line::new(cursor),
                poll_at: (log != members.me()).then(Instant::now),
            };
            self.lines.insert(log, followed);
            for letter in parked {
                match opened(&letter) {
                    Ok(happened) => self.lot.park(letter, happened, Instant::now()),
                    Err(why) => {
                        tracing::error!(group = %self.deps.call.group, event = %letter.id, %why, "a parked event can't be read")
                    }
                }
            }
        }
        Ok(())
    }

    /// A log of another process may have grown.
    pub(super) fn nudged(&mut self) {
        let (me, now) = (self.deps.members.borrow().me(), Instant::now());
        for (log, followed) in &mut self.lines {
            if *log != me {
                followed.poll_at = Some(now);
            }
        }
    }

    /// Takes up records while there is room.
    pub(super) async fn read_on(&mut self) {
        self.leave();
        let logs: Vec<Generation> = self.lines.keys().copied().collect();
        for log in logs {
            while self.schedule.waiting() < WAITING_EVENTS_MAX {
                match self.read_log(log).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => {
                        self.read_later(log);
                        self.stop(format!("the log can't be read: {error}"));
                        break;
                    }
                }
            }
        }
    }

    /// A log of another process that can't be read now is looked at a while later; this one's, when the group goes on.
    pub(super) fn read_later(&mut self, log: Generation) {
        if let Some(followed) = self.lines.get_mut(&log)
            && followed.poll_at.is_some()
        {
            followed.poll_at = Some(Instant::now() + FOREIGN_POLL_PAUSE);
        }
    }

    /// Reads some of a log. Whether there may be more right away.
    pub(super) async fn read_log(&mut self, log: Generation) -> Result<bool, StoreError> {
        let (me, is_alone, is_written) = {
            let members = self.deps.members.borrow();
            let is_written = members.alive().iter().any(|member| member.generation == log);
            (members.me(), members.alive().is_empty(), is_written)
        };
        let Some(followed) = self.lines.get_mut(&log) else {
            return Ok(false);
        };
        let Some(from) = followed.line.wants() else {
            return Ok(false);
        };
        let entries = if log == me {
            // Only what was acknowledged: an append whose outcome is unknown may be in the store already.
            let head = *self.deps.tail.head().borrow();
            followed.end = head.max(followed.end);
            if from > head {
                return Ok(false);
            }
            match self.deps.tail.from(from, READ_RECORDS_MAX) {
                Some(records) => records.into_iter().map(entry).collect(),
                None => self.deps.mail.records(log, from, READ_RECORDS_MAX).await?,
            }
        } else {
            if followed.poll_at.is_none_or(|at| at > Instant::now()) {
                return Ok(false);
            }
            let entries = self.deps.mail.records(log, from, READ_RECORDS_MAX).await?;
            self.leave();
            entries
        };
        let full = entries.len() == READ_RECORDS_MAX;
        for entry in entries {
            if !self.take(log, entry).await? {
                return Ok(false);
            }
        }
        // Not before: what could not be taken up now is to be read again.
        if log != me
            && !full
            && let Some(followed) = self.lines.get_mut(&log)
        {
            let pause = if is_written {
                FOREIGN_POLL_PAUSE
            } else {
                ENDED_POLL_PAUSE
            };
            followed.poll_at = (!is_alone).then(|| Instant::now() + pause);
        }
        Ok(full)
    }

    /// Takes up a record. False when nothing more is to be read now.
    pub(super) async fn take(&mut self, log: Generation, entry: LogEntry) -> Result<bool, StoreError> {
        let Some(followed) = self.lines.get_mut(&log) else {
            return Ok(false);
        };
        let number = entry.number;
        followed.end = followed.end.max(number);
        match followed.line.look(number) {
            Read::Done => {
                followed.line.pass(number);
                return Ok(true);
            }
            Read::New => {}
            Read::AfterGap(first, last) => {
                if let Some(first) = self.unfinished(log, first, last).await?
                    && !self.broken(log, first, last).await?
                {
                    return Ok(false);
                }
                let Some(followed) = self.lines.get_mut(&log) else {
                    return Ok(false);
                };
                followed.line.skip_to(last);
                if followed.line.finished() >= number {
                    return Ok(true);
                }
            }
        }
        let record = match entry.record {
            Ok(record) => record,
            Err(unreadable) => {
                self.bury_unreadable(log, number, unreadable).await?;
                self.took(log, number, Stamp::default(), 0);
                return Ok(true);
            }
        };
        let position = Position {
            generation: log,
            number,
        };
        let mut events = 0;
        for happened in Happened::all(position, &record) {
            if handles(&*self.deps.call.listener, happened.event()) {
                self.schedule.push(Lane::of(happened.event()), happened);
                events += 1;
            }
        }
        self.took(log, number, record.stamp, events);
        Ok(true)
    }

    pub(super) fn took(&mut self, log: Generation, number: u64, stamp: Stamp, events: usize) {
        if let Some(followed) = self.lines.get_mut(&log) {
            followed.line.take(number, stamp, events);
        }
        if events == 0 && log == self.deps.members.borrow().me() {
            self.deps.sync.had(number);
        }
    }

    /// A record that nobody can read now is kept for whoever can.
    pub(super) async fn bury_unreadable(
        &self,
        log: Generation,
        number: u64,
        unreadable: Unreadable,
    ) -> Result<(), StoreError> {
        let position = Position {
            generation: log,
            number,
        };
        let letter = self.letter_of_position(position, unreadable.octets, unreadable.why);
        self.deps.call.store.bury(&self.deps.call.group, &letter).await?;
        self.deps.figures.dead.inc_by(1);
        tracing::error!(group = %self.deps.call.group, %log, number, why = letter.why, "a record can't be read and is a dead letter");
        Ok(())
    }

    pub(super) fn letter_of_position(&self, position: Position, octets: bytes::Bytes, why: String) -> Letter {
        let now = self.deps.call.ids.now();
        Letter {
            id: EventId::of_position(position),
            position,
            octets,
            why,
            attempts: 0,
            since: now,
            last: now,
        }
    }

    /// The first of these records that nobody has finished. While nodes see different members two may follow a log, and
    /// what one of them has finished is trimmed before the other reads it.
    async fn unfinished(&self, log: Generation, first: u64, last: u64) -> Result<Option<u64>, StoreError> {
        let cursors = self.deps.call.store.cursors(&self.deps.call.group).await?;
        let mut cursors = cursors.into_iter().filter(|(of, _)| *of == log);
        let cursor = cursors.next().map_or_else(Cursor::default, |(_, cursor)| cursor);
        Ok((first..=last).find(|number| cursor.is_open(*number)))
    }

    /// Records fell out of the log before the group had them: it makes its state anew, or a dead letter names them. False
    /// when the group was stopped over that.
    pub(super) async fn broken(
        &mut self,
        log: Generation,
        first: u64,
        last: u64,
    ) -> Result<bool, StoreError> {
        let group = self.deps.call.group.clone();
        tracing::error!(%group, %log, first, last, "a group fell out of the log: records are gone that it did not see");
        self.deps.metrics.limit("events.retention");
        self.deps.status.set_rebuilding(true);
        let mut ends = Vec::new();
        for log in self.lines.keys() {
            ends.push((*log, self.deps.mail.log_end(*log).await?));
        }
        let mut pause = self.deps.call.options.retry_pause;
        let mut stop = self.deps.stop.clone();
        let rebuilt = loop {
            let rebuild = self.deps.call.listener.rebuild();
            let why = match bounded(rebuild, REBUILD_TIMEOUT).await {
                Ok(Ok(rebuilt)) => break rebuilt,
                Ok(Err(why)) | Err(why) => why,
            };
            tracing::warn!(%group, %why, "a group can't be rebuilt now");
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop != Stop::No) => return Ok(false),
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(STOPPED_PAUSE_MAX),
            }
        };
        if rebuilt {
            for (log, end) in ends {
                if let Some(followed) = self.lines.get_mut(&log) {
                    followed.line.skip_to(end);
                }
            }
            tracing::info!(%group, "the group was rebuilt");
        } else {
            let position = Position {
                generation: log,
                number: first,
            };
            let why = format!(
                "records {first} to {last} of the log {log} fell out of it before this group had them"
            );
            let letter = self.letter_of_position(position, bytes::Bytes::new(), why);
            self.deps.call.store.bury(&group, &letter).await?;
            self.deps.figures.dead.inc_by(1);
        }
        self.deps.status.set_rebuilding(false);
        Ok(true)
    }
}

fn entry((number, record): (u64, Arc<Record>)) -> LogEntry {
    LogEntry {
        number,
        record: Ok(record),
    }
}
