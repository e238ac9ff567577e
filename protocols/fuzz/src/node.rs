//! What an operator hands in: files of settings, of users, and hashes of other servers.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use mailhorn::operations::passwd_file;
use mailhorn::settings::Sources;
use mailhorn_core::auth::passwords::{self, ImportError};
use mailhorn_core::auth::{AuthOptions, NewPasswordError};
use mailhorn_events::Stamp;
use mailhorn_ports::{Clock, Ids, Random};
use mailhorn_sasl::Secret;

/// Separates the file from environment variables, a line each.
const ENVIRONMENT: &str = "\n---\n";

/// A file, and perhaps variables. What is loaded is written, passwords aside, so that it is loaded again as the same; what isn't
/// says why, for every mistake.
pub(crate) fn settings(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let (file, variables) = text.split_once(ENVIRONMENT).unwrap_or((text, ""));
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let environment = variables
        .map(|(key, value)| (format!("MAILHORN__{key}"), value.to_owned()))
        .collect();
    match load(file, environment) {
        Ok(settings) => {
            let written = settings.to_toml();
            let again =
                load(&written, HashMap::new()).unwrap_or_else(|problems| panic!("{problems:?}: {written}"));
            assert_eq!(again.to_toml(), written);
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            for problem in problems.0 {
                assert!(!problem.to_string().is_empty());
            }
        }
    }
}

fn load(
    file: &str,
    environment: HashMap<String, String>,
) -> Result<mailhorn::settings::Settings, mailhorn::settings::Problems> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mailhorn.toml");
    fs::write(&path, file).expect("a file is written");
    let sources = Sources {
        file: Some(path),
        environment,
        data_dir: None,
    };
    sources.load()
}

/// Lines are numbered as an editor numbers them, each once, and hold what stands in the file.
pub(crate) fn passwd_file(input: &[u8]) {
    let lines: Vec<&[u8]> = input.split(|octet| *octet == b'\n').collect();
    let mut before = 0;
    for line in passwd_file::lines(input) {
        assert!(line.number > before && line.number <= lines.len());
        before = line.number;
        let said = lines[line.number - 1];
        let Ok(user) = line.user else { continue };
        assert!(said.len() <= passwd_file::LINE_OCTETS_MAX + 1);
        let said = std::str::from_utf8(said).expect("it is text");
        let mut fields = said.strip_suffix('\r').unwrap_or(said).split(':');
        assert_eq!(fields.next().map(str::trim), Some(user.address.as_str()));
        assert_eq!(fields.next().map(str::as_bytes), Some(user.secret().declassify()));
        assert!(!user.address.is_empty() && !user.secret().is_empty());
    }
}

/// The second field of such a line. What is taken is stored in a form that is taken again, as the same; `{PLAIN}` is no hash and
/// costs one.
pub(crate) fn password_hash(input: &[u8]) {
    let is_plain = input
        .get(..7)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"{PLAIN}"));
    if is_plain {
        return;
    }
    match import(input) {
        Ok((hash, keys)) => {
            let field = if hash.starts_with('{') {
                hash.clone()
            } else {
                format!("{{ARGON2ID}}{hash}")
            };
            let (again, same_keys) = import(field.as_bytes()).expect("what was taken is taken again");
            assert_eq!(again, hash);
            assert_eq!(same_keys, keys);
        }
        Err(error) => {
            let shown = NewPasswordError::Import(error).to_string();
            assert!(
                !shown.contains(char::is_control) && shown.len() < 500,
                "{shown:?}"
            );
        }
    }
}

type Imported = (String, Option<mailhorn_ports::ScramKeys>);

fn import(field: &[u8]) -> Result<Imported, ImportError> {
    let options = AuthOptions::default();
    let ids = Ids::new(Arc::new(Fixed), Arc::new(Fixed), Stamp(0));
    let credentials = passwords::import_credentials(
        &ids,
        &Secret::new(field),
        options.argon2,
        options.scram_iterations,
    )?;
    Ok((credentials.hash, credentials.scram))
}

/// Nothing here depends on time or chance.
#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now_micros(&self) -> u64 {
        1
    }
}

impl Random for Fixed {
    fn fill(&self, octets: &mut [u8]) {
        octets.fill(7);
    }
}
