//! What an operator decides about log-ins.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroUsize;
use std::time::Duration;

use ipnet::IpNet;

/// The most memory of one argon2id hash, in KiB: libsodium's "moderate". What is imported may ask for as much, and
/// as many hashes run at once as there are cores.
pub const ARGON2_MEMORY_KIB_MAX: u32 = 262_144;

/// The most passes of argon2id over its memory. With the most memory this is seconds of a core.
pub const ARGON2_PASSES_MAX: u32 = 32;

/// The most lanes of argon2id. They are computed one after the other, so more of them gain us nothing.
pub const ARGON2_LANES_MAX: u32 = 16;

/// How log-ins are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthOptions {
    /// Whether SCRAM-SHA-256 is offered. Default: [`ScramOffer::Auto`].
    pub scram: ScramOffer,
    /// PBKDF2 iterations of SCRAM keys that are made from now on,
    /// [`mailhorn_sasl::ITERATIONS_MIN`] to [`mailhorn_sasl::ITERATIONS_MAX`]. The client does as many at each log-in.
    ///
    /// Unknown users are answered with this number, so accounts whose keys were made under another one can be told
    /// from them. Default: 15,000.
    pub scram_iterations: u32,
    /// Peers whose failures are neither counted nor slowed: a webmail or a proxy that speaks for everybody.
    /// Default: the loopback networks.
    pub trusted_networks: Vec<IpNet>,
    /// What a new argon2id hash costs, and what the answer to an unknown user does. Default: see [`Argon2Cost`].
    pub argon2: Argon2Cost,
    /// How many password checks may run at a time, each on a thread of its own. Default: one for each core.
    pub hashes_at_once: NonZeroUsize,
    /// How many more may wait for their turn. Beyond it a log-in is answered [`Login::Unavailable`] at once.
    /// Default: 256, some four seconds of two cores.
    ///
    /// [`Login::Unavailable`]: super::Login::Unavailable
    pub waiting_max: usize,
    /// For how many accounts a verified password is remembered (as a keyed hash) until it changes or the process
    /// ends, so that polling does not pay for argon2 each time. 0 remembers nothing. Default: 65,536, about 10 MB.
    pub remembered_max: usize,
    /// How many log-ins may fail.
    pub failures: FailureLimits,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self {
            scram: ScramOffer::Auto,
            scram_iterations: 15_000,
            trusted_networks: vec![
                IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
                IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
            ],
            argon2: Argon2Cost::default(),
            hashes_at_once: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            waiting_max: 256,
            remembered_max: 65_536,
            failures: FailureLimits::default(),
        }
    }
}

impl AuthOptions {
    /// Whether they can be kept.
    ///
    /// # Errors
    /// [`InvalidOptions`] names the first that cannot.
    pub fn validate(&self) -> Result<(), InvalidOptions> {
        self.argon2.params()?;
        if !(mailhorn_sasl::ITERATIONS_MIN..=mailhorn_sasl::ITERATIONS_MAX).contains(&self.scram_iterations) {
            return Err(InvalidOptions::ScramIterations);
        }
        let failures = &self.failures;
        if failures.of_pair_max == 0 || failures.of_address_max == 0 || failures.counted_for.is_zero() {
            return Err(InvalidOptions::Failures);
        }
        Ok(())
    }
}

/// Whether SCRAM-SHA-256 is offered.
///
/// An account without SCRAM keys cannot log in with it, and many clients do not fall back to another mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScramOffer {
    /// While every account has SCRAM keys.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What an argon2id hash costs (RFC 9106 §3.1). The default is the first choice of OWASP's password storage sheet
/// that does not need more than one lane and 19 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2Cost {
    /// Memory in KiB, 8 for each lane to [`ARGON2_MEMORY_KIB_MAX`]. Default: 19,456.
    pub memory_kib: u32,
    /// Passes over it, 1 to [`ARGON2_PASSES_MAX`]. Default: 2.
    pub passes: u32,
    /// Lanes, 1 to [`ARGON2_LANES_MAX`]. Default: 1.
    pub lanes: u32,
}

impl Default for Argon2Cost {
    fn default() -> Self {
        Self {
            memory_kib: 19_456,
            passes: 2,
            lanes: 1,
        }
    }
}

impl Argon2Cost {
    /// The parameters of the algorithm, once they are within our limits and its own.
    pub(super) fn params(self) -> Result<argon2::Params, InvalidOptions> {
        if self.memory_kib > ARGON2_MEMORY_KIB_MAX
            || self.passes > ARGON2_PASSES_MAX
            || self.lanes > ARGON2_LANES_MAX
        {
            return Err(InvalidOptions::Argon2);
        }
        argon2::Params::new(self.memory_kib, self.passes, self.lanes, None)
            .map_err(|_| InvalidOptions::Argon2)
    }
}

/// How many log-ins may fail before they are refused unheard, until [`FailureLimits::counted_for`] has passed since
/// the first of them.
///
/// An address is an IPv4 address or an IPv6 network of 64 bits, which is what a customer gets. Nothing is counted
/// for a user alone: nobody can lock a user out from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureLimits {
    /// From one address with one user name, at least 1; attempts under way count until they succeed. Default: 10.
    pub of_pair_max: u32,
    /// From one address, at least 1. Many users may stand behind it, some with an old password in a forgotten
    /// device. Default: 100.
    pub of_address_max: u32,
    /// How long failures count, from the first of them; not zero. Default: 15 minutes.
    pub counted_for: Duration,
    /// How many addresses, and how many pairs, are kept. Beyond it those that began first are forgotten.
    /// Default: 65,536, some tens of MB for both.
    pub entries_max: NonZeroUsize,
}

impl Default for FailureLimits {
    fn default() -> Self {
        Self {
            of_pair_max: 10,
            of_address_max: 100,
            counted_for: Duration::from_mins(15),
            entries_max: const { NonZeroUsize::new(65_536).expect("it is not zero") },
        }
    }
}

/// An option that cannot be kept. For the operator to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOptions {
    /// See [`Argon2Cost`].
    #[error(
        "argon2id takes 8 KiB of memory a lane to {ARGON2_MEMORY_KIB_MAX} KiB, 1 to {ARGON2_PASSES_MAX} passes and 1 to \
         {ARGON2_LANES_MAX} lanes"
    )]
    Argon2,
    /// See [`AuthOptions::scram_iterations`].
    #[error(
        "SCRAM takes {} to {} iterations",
        mailhorn_sasl::ITERATIONS_MIN,
        mailhorn_sasl::ITERATIONS_MAX
    )]
    ScramIterations,
    /// See [`FailureLimits`].
    #[error("the limits of failing log-ins and the time for which they count must not be zero")]
    Failures,
    /// See [`AuthOptions::hashes_at_once`].
    #[error("the threads that compute password hashes can't be started: does the system allow no more?")]
    Threads,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_trust_only_this_host() {
        let options = AuthOptions::default();
        assert_eq!(options.validate(), Ok(()));
        let trusted: Vec<String> = options.trusted_networks.iter().map(ToString::to_string).collect();
        assert_eq!(trusted, ["127.0.0.0/8", "::1/128"]);
    }

    #[test]
    fn options_that_cannot_be_kept_are_refused() {
        let cost = |memory_kib, passes, lanes| AuthOptions {
            argon2: Argon2Cost {
                memory_kib,
                passes,
                lanes,
            },
            ..AuthOptions::default()
        };
        let iterations = |scram_iterations| AuthOptions {
            scram_iterations,
            ..AuthOptions::default()
        };
        let failures = |of_pair_max, of_address_max, counted_for| AuthOptions {
            failures: FailureLimits {
                of_pair_max,
                of_address_max,
                counted_for,
                ..FailureLimits::default()
            },
            ..AuthOptions::default()
        };
        let cases = [
            (cost(7, 1, 1), Err(InvalidOptions::Argon2)),
            (cost(8, 1, 1), Ok(())),
            (cost(8, 1, 2), Err(InvalidOptions::Argon2)),
            (cost(8, 0, 1), Err(InvalidOptions::Argon2)),
            (cost(8, 1, 0), Err(InvalidOptions::Argon2)),
            (
                cost(ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES_MAX, ARGON2_LANES_MAX),
                Ok(()),
            ),
            (cost(ARGON2_MEMORY_KIB_MAX + 1, 1, 1), Err(InvalidOptions::Argon2)),
            (cost(1024, ARGON2_PASSES_MAX + 1, 1), Err(InvalidOptions::Argon2)),
            (cost(1024, 1, ARGON2_LANES_MAX + 1), Err(InvalidOptions::Argon2)),
            (iterations(4_095), Err(InvalidOptions::ScramIterations)),
            (iterations(4_096), Ok(())),
            (iterations(u32::MAX), Err(InvalidOptions::ScramIterations)),
            (
                failures(0, 1, Duration::from_secs(1)),
                Err(InvalidOptions::Failures),
            ),
            (
                failures(1, 0, Duration::from_secs(1)),
                Err(InvalidOptions::Failures),
            ),
            (failures(1, 1, Duration::ZERO), Err(InvalidOptions::Failures)),
            (failures(1, 1, Duration::from_nanos(1)), Ok(())),
        ];
        for (options, expected) in cases {
            assert_eq!(options.validate(), expected, "{options:?}");
        }
    }
}
