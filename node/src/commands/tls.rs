//! `mailhorn tls`.

use super::access::running_node;
use super::accounts::output;
use crate::cli::TlsCommand;
use crate::client;
use crate::exit::Exit;
use crate::output::complain;
use crate::settings::Settings;
use crate::tls::{Reloaded, Shown};

pub(super) fn tls(command: TlsCommand, settings: &Settings) -> anyhow::Result<Exit> {
    match command {
        TlsCommand::Reload { shown } => {
            let node = running_node(settings)?;
            let reloaded: Reloaded = client::read(node.ask(&["tls", "reload"], &[])?)?;
            output(shown).one(&reloaded, lines)?;
            for problem in &reloaded.problems {
                complain(problem);
            }
            Ok(exit(&reloaded))
        }
    }
}

/// It is done when all could be used.
fn exit(reloaded: &Reloaded) -> Exit {
    if reloaded.problems.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    }
}

/// Whether anything is new, then a line a certificate.
fn lines(reloaded: &Reloaded) -> String {
    let changed = if reloaded.changed { "changed" } else { "unchanged" };
    let certificates = reloaded.certificates.iter().map(line);
    std::iter::once(changed.to_owned())
        .chain(certificates)
        .collect::<Vec<_>>()
        .join("\n")
}

fn line(certificate: &Shown) -> String {
    let Shown { names, file, expires } = certificate;
    format!("{}\texpires {expires}\t{file}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_is_shown_and_what_cannot_be_used_fails_the_command() {
        let mut reloaded = Reloaded {
            changed: true,
            certificates: vec![Shown {
                names: vec!["a.example".into(), "b.example".into()],
                file: "/c.pem".into(),
                expires: "2030-01-01T00:00:00Z".into(),
            }],
            problems: Vec::new(),
        };
        let expected = "changed\na.example, b.example\texpires 2030-01-01T00:00:00Z\t/c.pem";
        assert_eq!(lines(&reloaded), expected);
        assert_eq!(exit(&reloaded), Exit::Done);
        reloaded.problems.push("tls.key: …".into());
        assert_eq!(exit(&reloaded), Exit::Failed);
    }
}
