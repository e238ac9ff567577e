//! Bans by hand.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use mailhorn_core::bans::{BanError, Bans};
use mailhorn_core::peers::counted_as;

use super::OperationError;
use super::views::Ban;

/// The longest reason, in octets.
const REASON_OCTETS_MAX: usize = 200;
/// The longest ban by hand. What has to last is a matter for a firewall.
pub const TIME_MAX: Duration = Duration::from_secs(365 * 86_400);

impl From<BanError> for OperationError {
    fn from(error: BanError) -> Self {
        let told = error.to_string();
        match error {
            BanError::Off => Self::Conflict(told),
            BanError::Spared(_) => Self::Invalid(told),
            BanError::NoSuchBan(_) | BanError::Wider(..) => Self::NotFound(told),
            BanError::Store(error) => error.into(),
        }
    }
}

/// An address stands for itself, or in IPv6 for its /64: no ban of less would hold anybody.
fn network(text: &str) -> Result<IpNet, OperationError> {
    let parsed = text.parse::<IpNet>().ok();
    let parsed = parsed.or_else(|| Some(counted_as(text.parse::<IpAddr>().ok()?)));
    parsed
        .map(|network| network.trunc())
        .ok_or_else(|| OperationError::Invalid(format!("{text:?} is no address and no network")))
}

/// The bans in force.
#[must_use]
pub fn list(bans: &Bans) -> Vec<Ban> {
    bans.list().iter().map(Ban::from).collect()
}

/// Bans an address or a network, for `time` or as long as a first ban lasts.
///
/// # Errors
///
/// [`OperationError`].
pub async fn add(
    bans: &Bans,
    text: &str,
    time: Option<Duration>,
    reason: String,
) -> Result<Ban, OperationError> {
    let network = network(text)?;
    if reason.len() > REASON_OCTETS_MAX || reason.contains(char::is_control) {
        let told = format!("a reason has at most {REASON_OCTETS_MAX} octets, on one line");
        return Err(OperationError::Invalid(told));
    }
    if time.is_some_and(|time| time.is_zero() || time > TIME_MAX) {
        let days = TIME_MAX.as_secs() / 86_400;
        return Err(OperationError::Invalid(format!(
            "a ban lasts at most {days} days, and some time"
        )));
    }
    Ok(Ban::from(&bans.add(network, time, reason).await?))
}

/// Takes a ban back.
///
/// # Errors
///
/// [`OperationError`].
pub async fn lift(bans: &Bans, text: &str) -> Result<(), OperationError> {
    Ok(bans.lift(network(text)?).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_banned_with_the_network_that_its_owner_has() {
        for (text, expected) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("2001:db8::7", "2001:db8::/64"),
            ("2001:db8::7/128", "2001:db8::7/128"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), expected);
        }
        for none in ["", "mail.example.org", "192.0.2.7/33", "192.0.2"] {
            assert!(matches!(network(none), Err(OperationError::Invalid(_))), "{none}");
        }
    }
}
