//! `mailhorn quota`.

use super::access::Access;
use super::accounts::{output, with};
use crate::cli::{LimitArgs, QuotaCommand};
use crate::client;
use crate::exit::Exit;
use crate::operations::views::{Limits, Quota};
use crate::output::write_line;
use crate::settings::Settings;
use crate::settings::value::ByteSize;

pub(super) fn quota(command: QuotaCommand, settings: &Settings) -> anyhow::Result<Exit> {
    with(settings, |access| match command {
        QuotaCommand::Show { owner, shown } => output(shown).one(&access.quota(&owner)?, line),
        QuotaCommand::Set { owner, limits } => {
            Ok(write_line(&line(&access.set_quota(&owner, Some(of(limits)))?))?)
        }
        QuotaCommand::Unset { owner } => Ok(write_line(&line(&access.set_quota(&owner, None)?))?),
    })
}

fn of(args: LimitArgs) -> Limits {
    Limits {
        messages: args.messages,
        octets: args.size.map(ByteSize::octets),
    }
}

/// Owner, messages and octets, each as usage/limit, and whether the limits are its own. They may be in force or not.
fn line(quota: &Quota) -> String {
    let limit = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let set = if quota.limits.is_some() { "set" } else { "default" };
    let enforced = if quota.enforced { "" } else { "\tnot enforced" };
    format!(
        "{}\t{}/{}\t{}/{}\t{set}{enforced}",
        quota.owner,
        quota.messages,
        limit(quota.effective.messages),
        quota.octets,
        limit(quota.effective.octets),
    )
}

impl Access {
    fn quota(&self, owner: &str) -> anyhow::Result<Quota> {
        match self {
            Self::Running(client) => client.get(&path(owner), &[]),
            Self::Stopped(stopped) => stopped.run(async |operations| operations.quota(owner).await),
        }
    }

    fn set_quota(&self, owner: &str, limits: Option<Limits>) -> anyhow::Result<Quota> {
        match (self, limits) {
            (Self::Running(client), Some(limits)) => client::read(client.put(&path(owner), &limits)?),
            (Self::Running(client), None) => client::read(client.delete(&path(owner))?),
            (Self::Stopped(stopped), limits) => {
                stopped.run(async |operations| operations.set_quota(owner, limits).await)
            }
        }
    }
}

fn path(owner: &str) -> [&str; 3] {
    let kind = if owner.contains('@') { "users" } else { "domains" };
    [kind, owner, "quota"]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_usage_beside_each_limit() {
        let mut quota = Quota {
            owner: "a@example.org".into(),
            limits: None,
            effective: Limits {
                messages: None,
                octets: Some(2048),
            },
            enforced: true,
            messages: 1,
            octets: 9,
        };
        assert_eq!(line(&quota), "a@example.org\t1/unlimited\t9/2048\tdefault");
        quota.enforced = false;
        let told = line(&quota);
        assert!(told.ends_with("default\tnot enforced"), "{told}");
    }
}
