//! How far apart a user's log-ins are (RFC 2449 §6.5): from the `+OK` of one to the check of the next.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mailhorn_events::AccountId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::metrics::Metrics;

/// Log-ins that are remembered at most. Past that the oldest are forgotten: their users may come back too soon, and nobody is
/// kept out.
pub const LOGINS_REMEMBERED_MAX: usize = 65_536;

/// The log-ins of a node. One for all its POP3 listeners; a cluster's nodes know nothing of each other's.
#[derive(Debug)]
pub struct LoginDelay {
    delay: Duration,
    remembered_max: usize,
    table: Mutex<Table>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<AccountId, Entry>,
    /// Of each [`Entry::Since`], oldest first.
    order: VecDeque<(Instant, AccountId)>,
}

#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// The password was right, and nobody knows yet whether the maildrop opens. As many as there are sessions.
    Underway,
    /// It was answered `+OK` then.
    Since(Instant),
}

/// The user's last log-in is not long enough ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooSoon;

/// A log-in that may go on. Dropped, it never was.
#[derive(Debug)]
#[must_use]
pub struct Allowed<'a> {
    login_delay: &'a LoginDelay,
    account: AccountId,
    has_logged_in: bool,
}

impl LoginDelay {
    /// None for a delay of zero.
    #[must_use]
    pub fn new(delay: Duration, metrics: Arc<Metrics>) -> Option<Self> {
        (!delay.is_zero()).then(|| Self {
            delay,
            remembered_max: LOGINS_REMEMBERED_MAX,
            table: Mutex::default(),
            metrics,
        })
    }

    /// Whether the account may log in, for one who has shown its password.
    ///
    /// # Errors
    /// [`TooSoon`]. The time of the last log-in stays as it is.
    pub fn ask(&self, account: AccountId) -> Result<Allowed<'_>, TooSoon> {
        let mut table = self.table.lock();
        table.forget_until(Instant::now(), self.delay);
        if table.entries.contains_key(&account) {
            drop(table);
            self.metrics.limit("pop3.login_delay");
            return Err(TooSoon);
        }
        table.entries.insert(account, Entry::Underway);
        Ok(Allowed {
            login_delay: self,
            account,
            has_logged_in: false,
        })
    }
}

impl Table {
    /// Forgets the log-ins that are long enough ago.
    fn forget_until(&mut self, now: Instant, delay: Duration) {
        while let Some((time, account)) = self.order.front().copied()
            && now.duration_since(time) >= delay
        {
            self.order.pop_front();
            self.entries.remove(&account);
        }
    }
}

impl Allowed<'_> {
    /// The maildrop is open, and the `+OK` leaves now.
    pub fn logged_in(mut self) {
        self.has_logged_in = true;
        let now = Instant::now();
        let mut table = self.login_delay.table.lock();
        table.entries.insert(self.account, Entry::Since(now));
        table.order.push_back((now, self.account));
        if table.order.len() > self.login_delay.remembered_max
            && let Some((_, oldest)) = table.order.pop_front()
        {
            table.entries.remove(&oldest);
            self.login_delay.metrics.limit("pop3.login_delay.remembered");
        }
    }
}

impl Drop for Allowed<'_> {
    fn drop(&mut self) {
        if !self.has_logged_in {
            self.login_delay.table.lock().entries.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Kinds;

    const DELAY: Duration = Duration::from_secs(60);

    fn login_delay() -> LoginDelay {
        let metrics = Arc::new(Metrics::new(Arc::new(Kinds::default())).0);
        LoginDelay::new(DELAY, metrics).unwrap()
    }

    fn account(number: u8) -> AccountId {
        AccountId(uuid::Uuid::from_bytes([number; 16]))
    }

    fn log_in(delay: &LoginDelay, number: u8) -> bool {
        delay.ask(account(number)).map(Allowed::logged_in).is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_in_counts_from_its_ok_and_a_refusal_does_not_begin_it_anew() {
        let delay = login_delay();
        let first = delay.ask(account(1)).unwrap();
        tokio::time::advance(DELAY).await;
        first.logged_in();
        assert!(log_in(&delay, 2), "another user's log-in is no reason");
        for _ in 0..59 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(!log_in(&delay, 1));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(log_in(&delay, 1));
        assert!(!log_in(&delay, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_in_that_came_to_nothing_never_was() {
        let delay = login_delay();
        let underway = delay.ask(account(1)).unwrap();
        assert!(
            delay.ask(account(1)).is_err(),
            "of two at the same moment one goes on"
        );
        drop(underway);
        assert!(log_in(&delay, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_log_ins_are_remembered_and_none_beyond_its_time() {
        let delay = LoginDelay {
            remembered_max: 2,
            ..login_delay()
        };
        for number in 1..=3 {
            assert!(log_in(&delay, number));
        }
        assert!(log_in(&delay, 1), "the oldest was forgotten");
        assert!(!log_in(&delay, 3));
        assert_eq!(delay.table.lock().entries.len(), 2);
        tokio::time::advance(DELAY).await;
        drop(delay.ask(account(9)));
        let table = delay.table.lock();
        assert!(table.entries.is_empty() && table.order.is_empty());
    }

    #[test]
    fn no_delay_remembers_nothing() {
        let metrics = Arc::new(Metrics::new(Arc::new(Kinds::default())).0);
        assert!(LoginDelay::new(Duration::ZERO, metrics).is_none());
    }
}
