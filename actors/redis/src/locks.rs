//! Maildrop locks: a key with a token and a time to live.

use std::time::Duration;

use async_trait::async_trait;
use mailhorn_events::MailboxId;
use mailhorn_ports::{Held, LockToken, MaildropLocks, StoreError};

use crate::error::nonsense;
use crate::node::{Redis, eval, millis, step};
use crate::value::integer;

/// Takes it where it is free or ours; another's is left as it is, its time included.
const HOLD: &str = "\
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";

const RELEASE: &str = "\
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

#[async_trait]
impl MaildropLocks for Redis {
    async fn hold(&self, mailbox: MailboxId, token: LockToken, ttl: Duration) -> Result<Held, StoreError> {
        let arguments = [hexadecimal(token), millis(ttl)];
        match self.on_lock(HOLD, mailbox, &arguments).await? {
            1 => Ok(Held::Mine),
            0 => Ok(Held::Others),
            _ => Err(nonsense("a lock")),
        }
    }

    async fn release(&self, mailbox: MailboxId, token: LockToken) -> Result<(), StoreError> {
        self.on_lock(RELEASE, mailbox, &[hexadecimal(token)]).await?;
        Ok(())
    }
}

impl Redis {
    async fn on_lock(
        &self,
        script: &str,
        mailbox: MailboxId,
        arguments: &[String],
    ) -> Result<i64, StoreError> {
        let arguments: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
        let call = step(eval(script, &[self.0.keys.lock(mailbox)], &arguments));
        let answers = self.0.link.run(&[call], Duration::ZERO).await?;
        let answer = answers.first().and_then(|answers| answers.first());
        answer.and_then(integer).ok_or_else(|| nonsense("a lock"))
    }
}

/// Text, so that an operator can read it.
fn hexadecimal(token: LockToken) -> String {
    token.0.iter().map(|octet| format!("{octet:02x}")).collect()
}
