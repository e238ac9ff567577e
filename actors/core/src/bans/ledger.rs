//! When an address is banned, and for how long: decided with the time handed in.

use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;
use mailhorn_events::Stamp;
use mailhorn_ports::Ban;
use tokio::time::Instant;

use crate::counts::Counts;

/// What is held against an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Offence {
    /// A log-in that failed.
    LogIn,
    /// A session that ended because nothing it said made sense.
    Abuse,
}

/// How much is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BanLimits {
    /// Failed log-ins that make a ban; at least 1.
    pub failed_log_ins_max: u32,
    /// Sessions that make a ban, each of which ended because of too many bad commands; at least 1.
    pub abuses_max: u32,
    /// How long they count, from the first of them.
    pub within: Duration,
    /// How long the first ban of an address lasts. The next one lasts twice as long as the one before, while that is
    /// remembered.
    pub time: Duration,
    /// The longest ban, and how long one is remembered after it.
    pub time_max: Duration,
    /// How many bans are known, and of how many addresses offences are counted.
    pub entries_max: NonZeroUsize,
}

/// Offences of late.
#[derive(Debug)]
pub(super) struct Ledger {
    limits: BanLimits,
    offences: Counts<(IpNet, Offence)>,
}

impl Ledger {
    pub(super) fn new(limits: BanLimits) -> Self {
        Self {
            limits,
            offences: Counts::new(limits.within, limits.entries_max),
        }
    }

    /// Notes an offence. Whether it is one too many; then counting begins anew.
    pub(super) fn note(&mut self, now: Instant, network: IpNet, offence: Offence) -> bool {
        let max = match offence {
            Offence::LogIn => self.limits.failed_log_ins_max,
            Offence::Abuse => self.limits.abuses_max,
        };
        let key = (network, offence);
        let is_too_many = self.offences.add(now, &key) >= max;
        if is_too_many {
            self.offences.forget(&key);
        }
        is_too_many
    }

    /// Forgets what is held against a network.
    pub(super) fn forget(&mut self, network: IpNet) {
        for offence in [Offence::LogIn, Offence::Abuse] {
            self.offences.forget(&(network, offence));
        }
    }
}

impl BanLimits {
    /// Until when a ban lasts that begins now, and until when it is remembered, where `former` is.
    pub(super) fn ends(&self, now: Stamp, former: Option<&Ban>) -> (Stamp, Stamp) {
        let time = match former {
            Some(former) => {
                let lasted = Duration::from_micros(former.until.0.saturating_sub(former.since.0));
                lasted
                    .saturating_mul(2)
                    .clamp(self.time.min(self.time_max), self.time_max)
            }
            None => self.time,
        };
        let until = after(now, time);
        (until, after(until, self.time_max))
    }

    /// Why, in words.
    pub(super) fn reason(&self, offence: Offence) -> String {
        let minutes = self.within.as_secs().div_ceil(60);
        match offence {
            Offence::LogIn => format!("{} failed log-ins in {minutes} min", self.failed_log_ins_max),
            Offence::Abuse => format!("{} sessions of bad commands in {minutes} min", self.abuses_max),
        }
    }
}

/// The moment that comes `time` later.
pub(super) fn after(moment: Stamp, time: Duration) -> Stamp {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    Stamp(moment.0.saturating_add(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn limits() -> BanLimits {
        BanLimits {
            failed_log_ins_max: 3,
            abuses_max: 2,
            within: 10 * MINUTE,
            time: 60 * MINUTE,
            time_max: 240 * MINUTE,
            entries_max: NonZeroUsize::new(100).unwrap(),
        }
    }

    fn network(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn so_many_offences_of_a_kind_within_the_time_are_too_many() {
        let mut ledger = Ledger::new(limits());
        let (start, one) = (Instant::now(), network("192.0.2.1/32"));
        let mut at = |minutes: u32, network, offence| ledger.note(start + minutes * MINUTE, network, offence);
        assert!(!at(0, one, Offence::LogIn));
        assert!(!at(0, one, Offence::Abuse), "each kind is counted by itself");
        assert!(!at(9, one, Offence::LogIn));
        assert!(
            !at(9, network("192.0.2.2/32"), Offence::LogIn),
            "and each address"
        );
        assert!(!at(10, one, Offence::LogIn), "the first is forgotten");
        assert!(!at(11, one, Offence::LogIn));
        assert!(at(12, one, Offence::LogIn));
        assert!(!at(12, one, Offence::LogIn), "it begins anew");
        assert!(!at(12, one, Offence::LogIn));
        ledger.forget(one);
        assert!(!ledger.note(start + 12 * MINUTE, one, Offence::LogIn));
    }

    #[test]
    fn each_ban_is_twice_as_long_as_the_one_before_while_that_is_remembered() {
        let limits = limits();
        let mut now = Stamp(1_000);
        let mut former: Option<Ban> = None;
        for minutes in [60, 120, 240, 240] {
            let (until, kept_until) = limits.ends(now, former.as_ref());
            assert_eq!(until, after(now, minutes * MINUTE));
            assert_eq!(kept_until, after(until, 240 * MINUTE));
            former = Some(Ban {
                network: network("192.0.2.1/32"),
                reason: String::new(),
                since: now,
                until,
                kept_until,
                node: String::new(),
            });
            now = until;
        }
    }

    #[test]
    fn a_short_ban_by_hand_shortens_no_later_one() {
        let (limits, now) = (limits(), Stamp(1_000));
        let by_hand = Ban {
            network: network("192.0.2.1/32"),
            reason: String::new(),
            since: now,
            until: after(now, MINUTE),
            kept_until: after(now, MINUTE),
            node: String::new(),
        };
        assert_eq!(limits.ends(now, Some(&by_hand)).0, after(now, 60 * MINUTE));
    }
}
