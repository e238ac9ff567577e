//! `mailhorn demo`: a node to play with.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use mailhorn_ports::{Clock, Random};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::access::{Access, Password};
use super::sample_mail::{self, Protocol};
use super::serve;
use crate::clock::{OsRandom, SystemClock};
use crate::exit::Exit;
use crate::listeners::{Addresses, Listeners, Taken};
use crate::output::write_line;
use crate::private_files;
use crate::settings::{Settings, Sources};
use crate::tls::Tls;
use crate::{telemetry, wiring};

const DOMAIN: &str = "example.org";
const ALICE: &str = "alice@example.org";
const BOB: &str = "bob@example.org";

/// The file that the printed line for sending sends.
const MESSAGE_FILE: &str = "demo-message.eml";

/// Random octets of a password, which are shown in hexadecimal.
const PASSWORD_OCTETS: usize = 8;

pub(super) fn demo(mut sources: Sources) -> anyhow::Result<Exit> {
    // Removed when this is dropped, at the end.
    let throw_away = match &sources.data_dir {
        Some(_) => None,
        None => Some(throw_away_folder()?),
    };
    if let Some(folder) = &throw_away {
        sources.data_dir = Some(folder.path().to_path_buf());
    }
    let settings = sources.load()?;
    let _lines = telemetry::init(&settings.log)?;
    let passwords = make_accounts(&settings)?;
    run(settings, &passwords)?;
    if let Some(folder) = throw_away {
        folder.close().context("the throw-away folder can't be removed")?;
    }
    Ok(Exit::Done)
}

fn throw_away_folder() -> io::Result<TempDir> {
    let for_owner_alone = Permissions::from_mode(0o700);
    tempfile::Builder::new()
        .prefix("mailhorn-demo-")
        .permissions(for_owner_alone)
        .tempdir()
}

/// The passwords of the two users.
struct Passwords {
    alice: String,
    bob: String,
}

fn make_accounts(settings: &Settings) -> anyhow::Result<Passwords> {
    let access = Access::open(settings)?;
    if access.domains()?.iter().all(|domain| domain.name != DOMAIN) {
        access.add_domain(DOMAIN, None)?;
    }
    let passwords = Passwords {
        alice: random_password(),
        bob: random_password(),
    };
    let users = access.users()?;
    for (address, password) in [(ALICE, &passwords.alice), (BOB, &passwords.bob)] {
        let password = Password::new(password.clone());
        if users.iter().any(|user| user.address == address) {
            access.set_password(address, &password)?;
        } else {
            access.add_user(address, &password)?;
        }
    }
    access.close()?;
    Ok(passwords)
}

fn random_password() -> String {
    let mut octets = [0; PASSWORD_OCTETS];
    OsRandom.fill(&mut octets);
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn run(settings: Settings, passwords: &Passwords) -> anyhow::Result<()> {
    actix_rt::System::new().block_on(async move {
        let asked_to_stop = serve::asked_to_stop()?;
        let failed = Arc::new(Notify::new());
        let has_failed = Arc::clone(&failed);
        let shutdown = async move {
            tokio::select! {
                biased;
                () = asked_to_stop => {}
                () = has_failed.notified() => {}
            }
        };
        let data_dir = std::path::absolute(&settings.node.data_dir)?;
        let listeners = Listeners::bind(&settings, Taken::AnyPort)?;
        let wanted = Addresses::wanted(&settings);
        let tls = Tls::load(&settings, Arc::new(SystemClock))?;
        let node = wiring::run(Arc::new(settings), tls, listeners, &BTreeSet::new(), shutdown).await?;
        let addresses = node.addresses().clone();
        let sent = send_samples(addresses.clone()).await;
        if let Err(error) = sent.and_then(|()| explain(&addresses, &wanted, &data_dir, passwords)) {
            // The node is stopped as it would be otherwise; what failed is told after that.
            failed.notify_one();
            node.finished().await?;
            return Err(error);
        }
        // A demo is alone with its store, so there is no lease to lose.
        node.finished().await.map(drop)
    })
}

/// Sends the samples in through the node's own listeners.
async fn send_samples(addresses: Addresses) -> anyhow::Result<()> {
    let now = SystemClock.now_micros();
    let sending = tokio::task::spawn_blocking(move || {
        let [first, second, third] = sample_mail::messages(now);
        let lmtp = *addresses
            .lmtp
            .first()
            .context("lmtp.listen is empty: the demo needs it")?;
        let smtp = *addresses
            .smtp
            .first()
            .context("smtp.listen is empty: the demo needs it")?;
        sample_mail::send(lmtp, Protocol::Lmtp, BOB, ALICE, &first)?;
        sample_mail::send(lmtp, Protocol::Lmtp, BOB, ALICE, &second)?;
        sample_mail::send(smtp, Protocol::Smtp, BOB, ALICE, &third)?;
        sample_mail::send(smtp, Protocol::Smtp, ALICE, BOB, &first)
    });
    sending.await?.context("the sample messages can't be sent")
}

/// Says what there is and what to do with it.
fn explain(
    addresses: &Addresses,
    wanted: &Addresses,
    data_dir: &Path,
    passwords: &Passwords,
) -> anyhow::Result<()> {
    let message = data_dir.join(MESSAGE_FILE);
    private_files::write(&message, &sample_mail::to_send(SystemClock.now_micros()))?;
    for line in lines(addresses, wanted, data_dir, &message, passwords) {
        write_line(&line)?;
    }
    Ok(())
}

fn lines(
    addresses: &Addresses,
    wanted: &Addresses,
    data_dir: &Path,
    message: &Path,
    passwords: &Passwords,
) -> Vec<String> {
    let mut lines = vec![
        format!(
            "A node runs with its data in {}. Ctrl-C ends it.",
            data_dir.display()
        ),
        format!("{ALICE} has the password {} and three messages", passwords.alice),
        format!("{BOB} has the password {} and one message", passwords.bob),
    ];
    if addresses != wanted {
        lines.push(
            "The ports are not those of the settings: some of those are taken by other programs.".to_owned(),
        );
    }
    let log_in = format!("-u '{ALICE}:{}'", passwords.alice);
    if let Some(pop3) = addresses.pop3.first() {
        lines.push(String::new());
        lines.push("To list and to read Alice's mail:".to_owned());
        lines.push(format!("curl -sS {log_in} pop3://{pop3}/"));
        lines.push(format!("curl -sS {log_in} pop3://{pop3}/1"));
    }
    if let Some(pop3_tls) = addresses.pop3_tls.first() {
        let certificate = data_dir.join("tls/self-signed.pem");
        lines.push(format!(
            "curl -sS --cacert {} {log_in} pop3s://{pop3_tls}/2",
            quoted(&certificate)
        ));
    }
    if let Some(smtp) = addresses.smtp.first() {
        lines.push(String::new());
        lines.push("To send her another message:".to_owned());
        lines.push(format!(
            "curl -sS smtp://{smtp} --mail-from {BOB} --mail-rcpt {ALICE} --upload-file {}",
            quoted(message)
        ));
    }
    lines
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_throw_away_folder_is_its_owners_alone() {
        let folder = throw_away_folder().unwrap();
        assert_eq!(
            std::fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
    }

    #[test]
    fn every_line_to_copy_begins_with_curl_and_has_the_real_ports() {
        let settings = Sources::default().load().unwrap();
        let wanted = Addresses::wanted(&settings);
        let mut addresses = wanted.clone();
        addresses.pop3 = vec!["127.0.0.1:40110".parse().unwrap()];
        let passwords = Passwords {
            alice: "a".to_owned(),
            bob: "b".to_owned(),
        };
        let folder = Path::new("/tmp/it's here");
        let lines = lines(
            &addresses,
            &wanted,
            folder,
            &folder.join(MESSAGE_FILE),
            &passwords,
        );
        let to_copy: Vec<&str> = lines
            .iter()
            .map(String::as_str)
            .filter(|line| line.starts_with("curl "))
            .collect();
        assert_eq!(
            to_copy,
            [
                "curl -sS -u 'alice@example.org:a' pop3://127.0.0.1:40110/",
                "curl -sS -u 'alice@example.org:a' pop3://127.0.0.1:40110/1",
                r"curl -sS --cacert '/tmp/it'\''s here/tls/self-signed.pem' -u 'alice@example.org:a' pop3s://127.0.0.1:2995/2",
                r"curl -sS smtp://127.0.0.1:2525 --mail-from bob@example.org --mail-rcpt alice@example.org --upload-file '/tmp/it'\''s here/demo-message.eml'",
            ]
        );
        assert!(lines.iter().any(|line| line.contains("taken by other programs")));
    }
}
