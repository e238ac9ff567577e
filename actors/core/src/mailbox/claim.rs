//! What a node knows of a lock between nodes, and of the service that keeps such locks. Plain.

use std::time::Duration;

/// What was heard when the service was asked for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is ours, for its time from then on.
    Mine,
    /// It is another's.
    Others,
    /// Nothing, or not in time: the service is away.
    Nothing,
}

/// How a session stands that has a lock and wants to remove mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The lock is its own.
    Held,
    /// The service could not say so before the time was over, nor can it now: the lock of this node is all there is.
    LocalOnly,
    /// Another may have been in the maildrop since.
    Lost,
}

/// A lock that a session of this node has, by this node's clock.
#[derive(Debug)]
pub(super) struct Claim {
    /// It is ours until then; `None` while the service has never said that it is.
    until: Option<Duration>,
    /// Once lost it stays so: whoever was in the maildrop meanwhile may have changed what this session numbers.
    lost: bool,
}

impl Claim {
    /// A claim about which the service said nothing yet.
    pub(super) fn new() -> Self {
        Self {
            until: None,
            lost: false,
        }
    }

    /// The service was asked at `asked`, and this was heard. Its time counts from the asking, which is never later than
    /// the service counts it. Whether the claim was lost just now.
    pub(super) fn heard(&mut self, asked: Duration, ttl: Duration, heard: Heard) -> bool {
        match heard {
            Heard::Mine => self.until = self.until.max(Some(asked.saturating_add(ttl))),
            Heard::Others => return self.lose(),
            Heard::Nothing => {}
        }
        false
    }

    /// It is lost. Whether that is news.
    pub(super) fn lose(&mut self) -> bool {
        !std::mem::replace(&mut self.lost, true)
    }

    /// Whether it is time to hold it for longer: a third of its time is over.
    pub(super) fn is_due(&self, now: Duration, ttl: Duration) -> bool {
        let left = |until: Duration| until.saturating_sub(now);
        !self.lost
            && self
                .until
                .is_none_or(|until| left(until) <= ttl.saturating_sub(ttl / 3))
    }

    /// How its session stands after the service was asked once more. `away_since`: since when nothing was heard of the
    /// service. A time that ran out while it was heard of (the process stood still) may have been given to others.
    pub(super) fn standing(&self, now: Duration, away_since: Option<Duration>) -> Standing {
        match self.until {
            _ if self.lost => Standing::Lost,
            None => Standing::LocalOnly,
            Some(until) if until > now => Standing::Held,
            Some(until) if away_since.is_some_and(|since| since <= until) => Standing::LocalOnly,
            Some(_) => Standing::Lost,
        }
    }
}

/// Whether the service is heard of.
#[derive(Debug, Default)]
pub(super) struct Service {
    away_since: Option<Duration>,
}

/// What is new about the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It stopped to answer.
    Away,
    /// It answers again.
    Back,
}

impl Service {
    /// It was asked at `asked`, and did or didn't answer.
    pub(super) fn heard(&mut self, asked: Duration, has_answered: bool) -> Option<News> {
        let news = match (self.away_since, has_answered) {
            (None, false) => News::Away,
            (Some(_), true) => News::Back,
            (None, true) | (Some(_), false) => return None,
        };
        self.away_since = (!has_answered).then_some(asked);
        Some(news)
    }

    /// When it was first asked in vain, if it has not answered since.
    pub(super) fn away_since(&self) -> Option<Duration> {
        self.away_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn held(asked: u64) -> Claim {
        let mut claim = Claim::new();
        claim.heard(at(asked), TTL, Heard::Mine);
        claim
    }

    #[test]
    fn a_lock_is_held_for_its_time_from_the_asking_and_renewed_after_a_third() {
        let mut claim = held(100);
        assert!(!claim.is_due(at(109), TTL));
        assert!(claim.is_due(at(110), TTL));
        assert_eq!(claim.standing(at(129), None), Standing::Held);
        claim.heard(at(110), TTL, Heard::Mine);
        assert_eq!(claim.standing(at(139), None), Standing::Held);
        assert!(!claim.is_due(at(119), TTL));
    }

    #[test]
    fn an_answer_that_was_overtaken_takes_nothing_back() {
        let mut claim = held(110);
        claim.heard(at(100), TTL, Heard::Mine);
        assert_eq!(claim.standing(at(139), None), Standing::Held);
    }

    #[test]
    fn only_anothers_token_loses_it_and_then_for_good() {
        let mut claim = held(100);
        assert!(!claim.heard(at(110), TTL, Heard::Nothing));
        assert_eq!(claim.standing(at(111), Some(at(110))), Standing::Held);
        assert!(claim.heard(at(112), TTL, Heard::Others));
        assert!(!claim.heard(at(113), TTL, Heard::Others), "it is told once");
        claim.heard(at(114), TTL, Heard::Mine);
        assert_eq!(claim.standing(at(114), None), Standing::Lost);
        assert!(!claim.is_due(at(200), TTL), "nobody asks for it any more");
    }

    #[test]
    fn a_time_that_ran_out_while_the_service_was_away_leaves_the_local_lock() {
        let claim = held(100);
        assert_eq!(claim.standing(at(131), Some(at(120))), Standing::LocalOnly);
        assert_eq!(Claim::new().standing(at(131), Some(at(131))), Standing::LocalOnly);
    }

    #[test]
    fn a_time_that_ran_out_while_the_process_stood_still_is_lost_unless_it_is_confirmed() {
        let mut claim = held(100);
        // Asked for the first time after it was over, and in vain.
        assert_eq!(claim.standing(at(200), Some(at(200))), Standing::Lost);
        claim.heard(at(200), TTL, Heard::Mine);
        assert_eq!(claim.standing(at(200), None), Standing::Held);
    }

    #[test]
    fn the_service_is_told_of_once_for_each_change() {
        let mut service = Service::default();
        assert_eq!(service.heard(at(1), true), None);
        assert_eq!(service.heard(at(2), false), Some(News::Away));
        assert_eq!(service.heard(at(3), false), None);
        assert_eq!(service.away_since(), Some(at(2)));
        assert_eq!(service.heard(at(4), true), Some(News::Back));
        assert_eq!(service.away_since(), None);
    }
}
