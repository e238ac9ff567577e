//! The registry: registrations as leases in sorted sets, in parts that are each looked at by one script.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use mailhorn_events::Generation;
use mailhorn_ports::{Epoch, Key, RegisteredFor, Registry, StoreError};
use redis::Value;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::nonsense;
use crate::keys::PARTS;
use crate::node::{Redis, eval, millis, step};
use crate::value::{array, integer, text};

/// Keys that one script touches: Redis does nothing else meanwhile, for less than a millisecond.
const KEYS_A_SCRIPT_MAX: usize = 64;
/// Scripts of one round trip.
const SCRIPTS_A_ROUND_MAX: usize = 16;

/// What every script begins with: it looks at the part's epoch, and sets it to ARGV[1] where it is missing. The run id
/// tells a server that was started anew, maybe from an old dump, or that took over from another.
macro_rules! in_an_epoch {
    ($script:literal) => {
        concat!(
            "redis.call('SET', KEYS[1], ARGV[1], 'NX')\n",
            "local epoch = redis.call('GET', KEYS[1])\n",
            "local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''\n",
            "local time = redis.call('TIME')\n",
            "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n",
            $script
        )
    };
}

/// KEYS: the epoch, what the process is registered for, keys. ARGV: a seed, the lease in milliseconds, the process.
/// All processes have the same lease, so a key lives as long as its last one.
const REGISTER: &str = in_an_epoch!(
    "for i = 3, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  redis.call('ZADD', KEYS[i], now + ARGV[2], ARGV[3])
  redis.call('SADD', KEYS[2], KEYS[i])
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {epoch, run}"
);

/// KEYS: the epoch, keys. ARGV: a seed.
const LOOK_UP: &str = in_an_epoch!(
    "local found = {epoch, run}
for i = 2, #KEYS do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
  for _, member in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do found[#found + 1] = member end
end
return found"
);

/// KEYS: what the process is registered for, keys. ARGV: the process.
const UNREGISTER: &str = "\
for i = 2, #KEYS do
  redis.call('ZREM', KEYS[i], ARGV[1])
  redis.call('SREM', KEYS[1], KEYS[i])
end
return 0";

/// KEYS: what the process is registered for. ARGV: the process, how many keys at most. The keys that it finds lie in the
/// same slot. Gives how many there were.
const UNREGISTER_SOME: &str = "\
local keys = redis.call('SPOP', KEYS[1], ARGV[2])
for _, key in ipairs(keys) do redis.call('ZREM', key, ARGV[1]) end
return #keys";

/// The epochs of the parts, as they were seen last. Together they are the registry's.
#[derive(Debug, Default)]
pub(crate) struct Epochs([Option<u64>; PARTS]);

impl Epochs {
    /// Takes note of a part's epoch. Says whether it was another before.
    fn saw(&mut self, part: usize, stamp: u64) -> bool {
        let before = self.0.get_mut(part).and_then(|known| known.replace(stamp));
        before.is_some_and(|before| before != stamp)
    }

    fn forget(&mut self) {
        self.0 = [None; PARTS];
    }

    /// Parts that were never looked at: before they are, nobody can say whether anything was lost there.
    fn unknown(&self) -> impl Iterator<Item = usize> {
        let known = self.0.iter().enumerate();
        known.filter(|(_, known)| known.is_none()).map(|(part, _)| part)
    }

    fn whole(&self) -> Epoch {
        let stamps = self.0.iter().flat_map(|known| known.unwrap_or(0).to_be_bytes());
        Epoch(xxh3_64(&stamps.collect::<Vec<u8>>()))
    }
}

/// What one script is asked about: keys of one part.
#[derive(Debug)]
struct Share {
    part: usize,
    keys: Vec<String>,
}

#[async_trait]
impl Registry for Redis {
    async fn register_keys(&self, generation: Generation, keys: &[Key]) -> Result<Epoch, StoreError> {
        let (lease, generation_text) = (millis(self.0.options.lease), generation.to_string());
        let script = |part: usize, keys: Vec<String>, seed: &str| {
            let mut names = vec![self.0.keys.epoch(part), self.0.keys.of(part, generation)];
            names.extend(keys);
            let arguments = [seed.as_bytes(), lease.as_bytes(), generation_text.as_bytes()];
            eval(REGISTER, &names, &arguments)
        };
        let (epoch, _) = self.in_an_epoch(keys, script).await?;
        Ok(epoch)
    }

    async fn unregister_keys(&self, generation: Generation, keys: &[Key]) -> Result<(), StoreError> {
        let generation_text = generation.to_string();
        let script = |share: Share| {
            let mut names = vec![self.0.keys.of(share.part, generation)];
            names.extend(share.keys);
            eval(UNREGISTER, &names, &[generation_text.as_bytes()])
        };
        self.rounds(self.shares(keys, []), script).await?;
        Ok(())
    }

    async fn unregister_all(&self, generation: Generation) -> Result<(), StoreError> {
        let (generation_text, some) = (generation.to_string(), KEYS_A_SCRIPT_MAX.to_string());
        let script = |share: Share| {
            let names = [self.0.keys.of(share.part, generation)];
            eval(
                UNREGISTER_SOME,
                &names,
                &[generation_text.as_bytes(), some.as_bytes()],
            )
        };
        let mut left: Vec<usize> = (0..PARTS).collect();
        while !left.is_empty() {
            let answers = self.rounds(self.shares(&[], left), script).await?;
            let full = i64::try_from(KEYS_A_SCRIPT_MAX).unwrap_or(i64::MAX);
            let has_more = |(part, answer)| (integer(&answer) == Some(full)).then_some(part);
            left = answers.into_iter().filter_map(has_more).collect();
        }
        Ok(())
    }

    async fn registered_for(&self, keys: &[Key]) -> Result<RegisteredFor, StoreError> {
        let script = |part: usize, keys: Vec<String>, seed: &str| {
            let mut names = vec![self.0.keys.epoch(part)];
            names.extend(keys);
            eval(LOOK_UP, &names, &[seed.as_bytes()])
        };
        let (epoch, found) = self.in_an_epoch(keys, script).await?;
        let members: BTreeSet<Generation> = found.iter().filter_map(member).collect();
        Ok(RegisteredFor {
            epoch,
            members: members.into_iter().collect(),
        })
    }
}

/// Who stands under a key. What is no process was put there by somebody else, and is nobody to send to.
fn member(value: &Value) -> Option<Generation> {
    let member = text(value).and_then(|text| text.parse::<Uuid>().ok());
    if member.is_none() {
        tracing::warn!(?value, "a registration that this release does not know");
    }
    member.map(Generation)
}

impl Redis {
    /// Runs a script that looks at epochs, over keys and over parts that were never looked at. Gives the registry's epoch
    /// and what the scripts found besides.
    async fn in_an_epoch(
        &self,
        keys: &[Key],
        script: impl Fn(usize, Vec<String>, &str) -> redis::Cmd,
    ) -> Result<(Epoch, Vec<Value>), StoreError> {
        let mut seed = [0; 8];
        self.0.surroundings.random.fill(&mut seed);
        let seed = u64::from_be_bytes(seed).to_string();
        let script = |share: Share| script(share.part, share.keys, &seed);
        let unknown: Vec<usize> = self.0.epochs.lock().unknown().collect();
        let mut shares = self.shares(keys, unknown);
        if shares.is_empty() {
            // Without keys the epoch is asked for all the same.
            shares = self.shares(&[], [0]);
        }
        let answers = self.rounds(shares, script).await?;
        let (seen, found) = parted(answers)?;
        if self.saw(&seen) {
            // Where a part lost what it had, others on that server did too: what they lost is told now, in one epoch, and
            // not one by one as they are looked at.
            let others: Vec<usize> = {
                let mut epochs = self.0.epochs.lock();
                epochs.forget();
                seen.iter().for_each(|(part, stamp)| {
                    epochs.saw(*part, *stamp);
                });
                epochs.unknown().collect()
            };
            let answers = self.rounds(self.shares(&[], others), script).await?;
            self.saw(&parted(answers)?.0);
        }
        Ok((self.0.epochs.lock().whole(), found))
    }

    /// Takes note of epochs. Says whether one of them was another before.
    fn saw(&self, seen: &[(usize, u64)]) -> bool {
        let mut epochs = self.0.epochs.lock();
        let changed = seen.iter().filter(|(part, stamp)| epochs.saw(*part, *stamp));
        changed.count() > 0
    }

    /// Keys by their part, in portions, and at least one portion of every part of `also`.
    fn shares(&self, keys: &[Key], also: impl IntoIterator<Item = usize>) -> Vec<Share> {
        let mut parts: BTreeMap<usize, Vec<String>> = also.into_iter().map(|part| (part, vec![])).collect();
        for key in keys {
            let (part, name) = self.0.keys.registered(key);
            parts.entry(part).or_default().push(name);
        }
        let mut shares = Vec::new();
        for (part, mut keys) in parts {
            while keys.len() > KEYS_A_SCRIPT_MAX {
                let rest = keys.split_off(KEYS_A_SCRIPT_MAX);
                shares.push(Share { part, keys });
                keys = rest;
            }
            shares.push(Share { part, keys });
        }
        shares
    }

    /// Runs a script for each share, some at a time. Gives what each answered, with its part.
    async fn rounds(
        &self,
        shares: Vec<Share>,
        script: impl Fn(Share) -> redis::Cmd,
    ) -> Result<Vec<(usize, Value)>, StoreError> {
        let mut found = Vec::with_capacity(shares.len());
        let mut shares = shares.into_iter().peekable();
        while shares.peek().is_some() {
            let round = shares.by_ref().take(SCRIPTS_A_ROUND_MAX);
            let (parts, steps): (Vec<_>, Vec<_>) =
                round.map(|share| (share.part, step(script(share)))).unzip();
            let answers = self.0.link.run(&steps, Duration::ZERO).await?;
            found.extend(parts.into_iter().zip(answers.into_iter().flatten()));
        }
        Ok(found)
    }
}

/// A part and the stamp of its epoch.
type Seen = (usize, u64);

/// The epochs in answers, each with its part, and the rest of them.
fn parted(answers: Vec<(usize, Value)>) -> Result<(Vec<Seen>, Vec<Value>), StoreError> {
    let (mut seen, mut found) = (Vec::new(), Vec::new());
    for (part, answer) in answers {
        let mut values = array(answer).unwrap_or_default().into_iter();
        let (Some(epoch), Some(run)) = (values.next(), values.next()) else {
            return Err(nonsense("a registration"));
        };
        let (Some(epoch), Some(run)) = (text(&epoch), text(&run)) else {
            return Err(nonsense("an epoch"));
        };
        seen.push((part, xxh3_64(format!("{epoch} {run}").as_bytes())));
        found.extend(values);
    }
    Ok((seen, found))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::tests::any_value;

    #[test]
    fn the_whole_epoch_changes_with_any_part() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.unknown().count(), PARTS);
        for part in 0..PARTS {
            assert!(!epochs.saw(part, 7), "what was unknown has not changed");
            assert!(!epochs.saw(part, 7));
        }
        assert_eq!(epochs.unknown().count(), 0);
        let mut seen = BTreeSet::from([epochs.whole()]);
        for part in 0..PARTS {
            assert!(epochs.saw(part, 8));
            assert!(seen.insert(epochs.whole()), "part {part}");
        }
        epochs.forget();
        assert_eq!(epochs.unknown().count(), PARTS);
        (0..PARTS).for_each(|part| assert!(!epochs.saw(part, 7)));
        assert!(!seen.insert(epochs.whole()), "the same parts are the same whole");
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(answers in proptest::collection::vec(any_value(), 0..4)) {
            prop_assert!(answers.iter().filter_map(member).count() <= answers.len());
            parted(answers.into_iter().map(|answer| (0, answer)).collect()).ok();
        }
    }
}
