//! Runs cases one after the other, and keeps what each came to.

use crate::case::{Case, Checked, Door, Need, Run, Stop};
use crate::world::World;

/// How many lines of a transcript show a failure.
const EXCERPT_LINES: usize = 24;

/// What a case came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    Fail { why: String, transcript: Vec<String> },
    NotOffered(String),
    NotRun(String),
}

impl Outcome {
    /// As it is shown while the suite runs.
    pub(crate) const fn sign(&self) -> char {
        match self {
            Self::Pass => '.',
            Self::Fail { .. } => 'F',
            Self::NotOffered(_) => 'o',
            Self::NotRun(_) => '-',
        }
    }

    /// As it is stored.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail { .. } => "fail",
            Self::NotOffered(_) => "not offered",
            Self::NotRun(_) => "not run",
        }
    }

    /// Why, where it is no pass.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Pass => "",
            Self::Fail { why, .. } | Self::NotOffered(why) | Self::NotRun(why) => why,
        }
    }
}

/// A case by one door, with its outcome.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) id: String,
    pub(crate) case: Case,
    pub(crate) outcome: Outcome,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Runs all cases whose id begins as asked for, and shows each outcome as it comes. An error means that the maildrop can't be cleaned
/// up, and nothing more was tried.
pub(crate) fn run(
    world: &mut World,
    cases: &[Case],
    only: &[String],
    mut seen: impl FnMut(&Outcome),
) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for case in cases {
        for (id, door) in case.ids() {
            if !only.is_empty() && !only.iter().any(|prefix| id.starts_with(prefix.as_str())) {
                continue;
            }
            let outcome = outcome(world, case, door);
            seen(&outcome);
            findings.push(Finding {
                id: id.clone(),
                case: *case,
                outcome,
            });
            if let Err(stop) = world.sweep() {
                let transcript = world.transcript.tail(EXCERPT_LINES).join("\n");
                anyhow::bail!("after {id} the maildrop could not be cleaned up: {stop}\n{transcript}");
            }
        }
    }
    Ok(findings)
}

fn outcome(world: &mut World, case: &Case, door: Option<Door>) -> Outcome {
    world.transcript.clear();
    let done = prepare(world, case, door).and_then(|()| match (case.run, door) {
        (Run::Pop3(run) | Run::Through(run), _) => run(world),
        (Run::Both(run) | Run::One(_, run), Some(door)) => run(world, door),
        (Run::Both(_) | Run::One(..), None) => Ok(()),
    });
    match done {
        Ok(()) => Outcome::Pass,
        Err(Stop::NotOffered(why)) => Outcome::NotOffered(why),
        Err(Stop::NotRun(why)) => Outcome::NotRun(why),
        Err(stop @ (Stop::Failed(_) | Stop::Closed | Stop::Silent)) => Outcome::Fail {
            why: world.transcript.redacted(&stop.to_string()),
            transcript: world.transcript.tail(EXCERPT_LINES),
        },
    }
}

/// Sees to it that what the case needs is there.
fn prepare(world: &mut World, case: &Case, door: Option<Door>) -> Checked {
    let not_run = |why: &str| Err(Stop::NotRun(why.to_owned()));
    if let Some(door) = door.filter(|door| world.address(*door).is_none()) {
        return Err(Stop::NotRun(format!("--{} was not given", door.name())));
    }
    let needs_pop3 = matches!(case.run, Run::Pop3(_) | Run::Through(_));
    if needs_pop3 && world.setup.pop3.is_none() && !case.needs.contains(&Need::Pop3s) {
        return not_run("--pop3 was not given");
    }
    if matches!(case.run, Run::Through(_)) && !world.is_through() {
        return not_run("mail has no way in, or none out");
    }
    for need in case.needs {
        match need {
            Need::Letters(_) | Need::WayThrough if !world.is_through() => {
                return not_run("mail has no way in, or none out");
            }
            Need::EmptyMaildrop if !world.is_alone() => return not_run("the maildrop holds mail of others"),
            Need::Capability(name) if !world.has_capability(name) => {
                return Err(Stop::NotOffered(format!("CAPA does not announce {name}")));
            }
            Need::Extension(name) if door.is_some_and(|door| !world.has_extension(door, name)) => {
                return Err(Stop::NotOffered(format!("{name} is not announced")));
            }
            Need::SecondUser if world.setup.second.is_none() => {
                return not_run("--second-user was not given");
            }
            Need::Pop3s if world.setup.pop3s.is_none() => return not_run("--pop3s was not given"),
            Need::Slowness if !world.setup.slow => return not_run("it takes 10 minutes: --slow"),
            _ => {}
        }
    }
    for need in case.needs {
        if let Need::Letters(count) = need {
            world.deliver_letters(*count)?;
        }
    }
    world.transcript.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::setup::{Account, Setup};
    use crate::tls::Tls;

    /// A server that says +OK to everything, in whatever state it is, and lists nothing.
    fn yes_man() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let mut say = |text: &str| stream.write_all(text.as_bytes());
                // A client that has gone is the next one's turn.
                let _gone = say("+OK\r\n").and_then(|()| {
                    for line in lines {
                        match line?.as_str() {
                            "STAT" => say("+OK 0 0\r\n")?,
                            "CAPA" | "LIST" | "UIDL" => say("+OK\r\n.\r\n")?,
                            "QUIT" => {
                                say("+OK\r\n")?;
                                break;
                            }
                            _ => say("+OK\r\n")?,
                        }
                    }
                    Ok::<(), std::io::Error>(())
                });
            }
        });
        address
    }

    fn world(pop3: &str) -> World {
        let user = Account {
            name: "ann".to_owned(),
            password: "secret".to_owned(),
            address: "ann@example.org".to_owned(),
        };
        let setup = Setup {
            pop3: Some(pop3.parse().unwrap()),
            pop3s: None,
            lmtp: None,
            smtp: None,
            user,
            second: None,
            patience: Duration::from_secs(5),
            may_have_mail: false,
            slow: false,
            tls: Tls::new(None).unwrap(),
            token: "conform-run-test".to_owned(),
        };
        World::new(setup).unwrap()
    }

    #[test]
    fn a_server_that_says_yes_to_everything_fails_where_it_should_say_no() {
        let mut world = world(&yes_man());
        let refused = [
            "pop3.unknown-command",
            "pop3.empty-line",
            "pop3.state.before-login",
            "pop3.state.user-after-login",
            "pop3.login.wrong-password",
            "pop3.login.pass-without-user",
        ];
        let right = ["pop3.greeting", "pop3.stat.format", "pop3.quit.before-login"];
        let only = [&refused[..], &right, &["pop3.stls.begins", "pop3.retr.size"]].concat();
        let only: Vec<String> = only.into_iter().map(str::to_owned).collect();
        let mut seen = 0;
        let findings = run(&mut world, &crate::cases::all(), &only, |_| seen += 1).unwrap();
        assert_eq!(seen, findings.len());
        let named = |id: &str| findings.iter().find(|finding| finding.id == id).expect(id);
        for id in refused {
            let outcome = &named(id).outcome;
            assert!(
                matches!(outcome, Outcome::Fail { transcript, .. } if !transcript.is_empty()),
                "{id}: {outcome:?}"
            );
        }
        for id in right {
            assert_eq!(named(id).outcome, Outcome::Pass, "{id}");
        }
        assert_eq!(named("pop3.stls.begins").outcome.name(), "not offered");
        assert_eq!(named("pop3.retr.size").outcome.name(), "not run");
        let shown: Vec<String> = findings
            .iter()
            .map(|finding| format!("{:?}", finding.outcome))
            .collect();
        assert!(
            !shown.iter().any(|text| text.contains("secret")),
            "the password is shown"
        );
    }
}
