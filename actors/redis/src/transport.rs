//! The fast path: a bounded stream for each process that receives.
//!
//! The receiver takes frames out of its stream once it has read them, by their ids, and always reads from the beginning.
//! So a server that took over, whose clock may be behind, hides none; a frame whose removal was lost comes twice.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use mailhorn_events::Generation;
use mailhorn_ports::{StoreError, Transport};
use parking_lot::Mutex;
use redis::{Pipeline, Value};
use tokio::time::Instant;

use crate::error::nonsense;
use crate::link::Link;
use crate::node::{Redis, eval, millis, step};
use crate::options::LIMIT_INBOX;
use crate::value::{array, fixed, integer, text};

/// How long frames stay for a process that doesn't read them: a sender takes it for dead well before.
const INBOX_LIFETIME: Duration = Duration::from_secs(60);
/// Frames that one look takes at most.
const FRAMES_A_LOOK_MAX: usize = 256;
/// How often lost frames are logged at most; every one is counted.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// KEYS: frames, state. ARGV: the frame, how many frames and octets there may be, the lifetime in milliseconds. The oldest
/// make room; the newest stays. Gives how many went.
const SEND: &str = "\
redis.call('XADD', KEYS[1], '*', 'f', ARGV[1])
local octets = redis.call('HINCRBY', KEYS[2], 'octets', #ARGV[1])
local frames, lost = redis.call('XLEN', KEYS[1]), 0
while frames > 1 and (frames > tonumber(ARGV[2]) or octets > tonumber(ARGV[3])) do
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', KEYS[1], oldest[1])
  octets = redis.call('HINCRBY', KEYS[2], 'octets', -#oldest[2][2])
  frames, lost = frames - 1, lost + 1
end
if lost > 0 then redis.call('HINCRBY', KEYS[2], 'lost', lost) end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
return lost";

/// KEYS: frames, state. ARGV: the ids of frames that were read. Gives how many frames were pushed out so far, and how many
/// of these ids are not there.
const TAKE_OUT: &str = "\
local gone = 0
for _, id in ipairs(ARGV) do
  local frame = redis.call('XRANGE', KEYS[1], id, id)[1]
  if frame then
    redis.call('XDEL', KEYS[1], id)
    redis.call('HINCRBY', KEYS[2], 'octets', -#frame[2][2])
  else
    gone = gone + 1
  end
end
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1])
  redis.call('HDEL', KEYS[2], 'octets')
end
return {tonumber(redis.call('HGET', KEYS[2], 'lost') or 0), gone}";

/// When lost frames were logged last.
#[derive(Debug, Default)]
pub(crate) struct Pushed(Mutex<Option<Instant>>);

impl Pushed {
    fn is_time_to_log(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let is_time = last.is_none_or(|last| now.duration_since(last) >= LOG_PAUSE);
        if is_time {
            *last = Some(now);
        }
        is_time
    }
}

/// A process's stream as its receiver has it, on a connection of its own: a look that waits would hold up other calls.
#[derive(Debug)]
pub(crate) struct Inbox {
    link: Link,
    names: [String; 2],
    reading: tokio::sync::Mutex<Reading>,
}

#[derive(Debug)]
struct Reading {
    /// Ids of frames that were given out and are still in the stream.
    read: Vec<String>,
    /// Whether the last look ended well. If not, frames that are gone may have been taken out by it.
    is_sure: bool,
    /// Frames that were pushed out, as it was told last.
    pushed_out: u64,
    /// Frames that the next look takes at most.
    look: usize,
}

impl Reading {
    /// Takes note of what a look told. Gives how many frames were lost since the one before: those that were pushed out
    /// without having been read.
    fn lost(&mut self, pushed_out: u64, gone: u64) -> u64 {
        // Fewer than before: it was forgotten in between, and counts from nothing.
        let since = pushed_out.checked_sub(self.pushed_out).unwrap_or(pushed_out);
        self.pushed_out = pushed_out;
        match self.is_sure {
            true => since.saturating_sub(gone),
            false => since,
        }
    }
}

/// What one look found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    ids: Vec<String>,
    frames: Vec<Bytes>,
    /// Frames that were pushed out so far.
    pushed_out: u64,
    /// Frames that were to be taken out and were not there.
    gone: u64,
}

#[async_trait]
impl Transport for Redis {
    async fn send(&self, to: Generation, frame: Bytes) -> Result<(), StoreError> {
        let options = &self.0.options;
        let limits = [
            options.inbox_frames_max.to_string(),
            options.inbox_octets_max.to_string(),
            millis(INBOX_LIFETIME),
        ];
        let [frames, octets, lifetime] = limits.each_ref().map(String::as_bytes);
        let call = eval(SEND, &self.0.keys.inbox(to), &[&frame, frames, octets, lifetime]);
        let answers = self.0.link.run(&[step(call)], Duration::ZERO).await?;
        let lost = answers.first().and_then(|answers| answers.first());
        let lost = lost.and_then(integer).ok_or_else(|| nonsense("a send"))?;
        if lost > 0 {
            self.0.surroundings.notices.limit_reached(LIMIT_INBOX);
            if self.0.pushed.is_time_to_log(Instant::now()) {
                tracing::warn!(%to, lost, "frames for a node were lost: it does not read them fast enough");
            }
        }
        Ok(())
    }

    async fn receive(&self, me: Generation) -> Result<Vec<Bytes>, StoreError> {
        let inbox = self.inbox(me);
        let mut reading = inbox.reading.lock().await;
        loop {
            let found = match self.look(&inbox, &reading).await {
                Ok(found) => found,
                Err(error) => {
                    // So many may be more than come in time.
                    reading.look = 1;
                    reading.is_sure = false;
                    return Err(error);
                }
            };
            let lost = reading.lost(found.pushed_out, found.gone);
            if lost > 0 {
                self.0.surroundings.notices.frames_lost(lost);
                tracing::warn!(
                    lost,
                    "frames from other nodes were lost: they were not read fast enough"
                );
            }
            reading.is_sure = true;
            reading.look = (reading.look * 2).min(FRAMES_A_LOOK_MAX);
            reading.read = found.ids;
            if !found.frames.is_empty() {
                return Ok(found.frames);
            }
        }
    }
}

impl Redis {
    fn inbox(&self, me: Generation) -> Arc<Inbox> {
        let mut inboxes = self.0.inboxes.lock();
        let inbox = inboxes.entry(me).or_insert_with(|| {
            let reading = Reading {
                read: Vec::new(),
                is_sure: true,
                pushed_out: 0,
                look: FRAMES_A_LOOK_MAX,
            };
            Arc::new(Inbox {
                link: self.another_link(),
                names: self.0.keys.inbox(me),
                reading: tokio::sync::Mutex::new(reading),
            })
        });
        Arc::clone(inbox)
    }

    /// Takes out what was read, and looks for more; waits a while where there is none.
    async fn look(&self, inbox: &Inbox, reading: &Reading) -> Result<Found, StoreError> {
        let wait = self.0.options.receive_wait;
        let read: Vec<&[u8]> = reading.read.iter().map(String::as_bytes).collect();
        let mut calls = Pipeline::with_capacity(2);
        calls.add_command(eval(TAKE_OUT, &inbox.names, &read));
        let [frames, _] = &inbox.names;
        calls.cmd("XREAD").arg("COUNT").arg(reading.look);
        calls.arg("BLOCK").arg(millis(wait));
        calls.arg("STREAMS").arg(frames).arg("0-0");
        let mut answers = inbox.link.run(&[calls], wait).await?;
        let answers: [Value; 2] = answers
            .pop()
            .and_then(|answers| answers.try_into().ok())
            .ok_or_else(|| nonsense("a look for frames"))?;
        let [taken_out, streams] = answers;
        let count = |value: &Value| integer(value).and_then(|count| u64::try_from(count).ok());
        let taken_out = fixed(taken_out).and_then(|[lost, gone]| Some((count(&lost)?, count(&gone)?)));
        let (pushed_out, gone) = taken_out.ok_or_else(|| nonsense("a count of frames"))?;
        let found = found(streams).ok_or_else(|| nonsense("frames"))?;
        Ok(Found {
            pushed_out,
            gone,
            ..found
        })
    }
}

/// The frames in an answer: `[[name, [[id, [field, frame]] …]]]`, or nothing. An entry that is no frame was put there by
/// somebody else: it is taken out and not given to anybody.
fn found(streams: Value) -> Option<Found> {
    if streams == Value::Nil {
        return Some(Found::default());
    }
    let [stream] = fixed(streams)?;
    let [_, entries] = fixed(stream)?;
    let mut found = Found::default();
    for entry in array(entries)? {
        let [id, fields] = fixed(entry)?;
        found.ids.push(text(&id)?.to_owned());
        match fixed(fields) {
            Some([_, Value::BulkString(frame)]) => found.frames.push(Bytes::from(frame)),
            _ => tracing::warn!(?id, "an entry that is no frame"),
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::tests::any_value;

    fn reading(is_sure: bool) -> Reading {
        Reading {
            read: Vec::new(),
            is_sure,
            pushed_out: 0,
            look: 1,
        }
    }

    #[test]
    fn what_was_pushed_out_unread_is_lost() {
        let mut sure = reading(true);
        assert_eq!(sure.lost(3, 0), 3);
        assert_eq!(sure.lost(3, 0), 0, "told once");
        assert_eq!(sure.lost(8, 4), 1, "four of them had been read");
        assert_eq!(sure.lost(8, 2), 0, "forgotten, not pushed out");
        assert_eq!(sure.lost(2, 0), 2, "counted from nothing again");
    }

    #[test]
    fn frames_that_a_failed_look_may_have_taken_out_excuse_no_loss() {
        assert_eq!(reading(false).lost(3, 3), 3);
    }

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn an_entry_that_is_no_frame_is_taken_out_and_given_to_nobody() {
        let entry = |id: &str, fields: Vec<Value>| Value::Array(vec![bulk(id), Value::Array(fields)]);
        let entries = vec![
            entry("1-0", vec![bulk("f"), bulk("one")]),
            entry("2-0", vec![bulk("a"), bulk("b"), bulk("c"), bulk("d")]),
            entry("3-0", vec![bulk("f"), bulk("two")]),
        ];
        let stream = Value::Array(vec![bulk("name"), Value::Array(entries)]);
        let found = found(Value::Array(vec![stream])).unwrap();
        assert_eq!(found.ids, ["1-0", "2-0", "3-0"]);
        assert_eq!(found.frames, ["one", "two"]);
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answer in any_value()) {
            found(answer);
        }
    }
}
