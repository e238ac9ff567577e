//! Who may use the API: whoever can read the token's file.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use anyhow::Context;
use mailhorn_ports::Random;
use subtle::ConstantTimeEq;

use super::TOKEN_FILE;
use crate::clock::OsRandom;
use crate::private_files;

/// Random octets of a token.
const TOKEN_OCTETS: usize = 32;
/// The same in hexadecimal.
const TOKEN_CHARACTERS: usize = 64;

/// What a client shows as `Authorization: Bearer …` (RFC 6750 §2.1).
#[derive(Clone)]
pub struct Token(Arc<str>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// The token of a data folder. It is made where there is none, and made anew where others than the owner could
    /// have read it.
    ///
    /// # Errors
    ///
    /// When its file can't be read or written.
    pub fn of_folder(data_dir: &Path) -> anyhow::Result<Self> {
        match Self::read(data_dir)? {
            Some(token) => Ok(token),
            None => Self::make(data_dir),
        }
    }

    /// The token of a data folder, if there is a good one.
    ///
    /// # Errors
    ///
    /// When its file is there and can't be read.
    pub fn read(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = data_dir.join(TOKEN_FILE);
        let found =
            fs::metadata(&path).and_then(|metadata| Ok((metadata.permissions().mode(), fs::read(&path)?)));
        let (mode, content) = match found {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            found => found.with_context(|| format!("{}: can't be read", path.display()))?,
        };
        let text = String::from_utf8_lossy(&content);
        let text = text.trim_end();
        let is_good = mode & 0o077 == 0
            && text.len() == TOKEN_CHARACTERS
            && text.bytes().all(|octet| octet.is_ascii_hexdigit());
        Ok(is_good.then(|| Self(text.into())))
    }

    fn make(data_dir: &Path) -> anyhow::Result<Self> {
        let mut octets = [0; TOKEN_OCTETS];
        OsRandom.fill(&mut octets);
        let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let path = data_dir.join(TOKEN_FILE);
        private_files::make_folder(data_dir)
            .and_then(|()| private_files::write(&path, format!("{text}\n").as_bytes()))
            .with_context(|| format!("{}: can't be written", path.display()))?;
        Ok(Self(text.into()))
    }

    /// The value of the header that shows it.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a request shows it. Takes the same time for every wrong one.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let expected = self.authorization();
        headers
            .get(AUTHORIZATION)
            .is_some_and(|shown| bool::from(shown.as_bytes().ct_eq(expected.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Token::of_folder(folder.path()).unwrap();
        let path = folder.path().join(TOKEN_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Token::of_folder(folder.path()).unwrap();
        assert_eq!(first.0, again.0);
        assert_eq!(first.0.len(), TOKEN_CHARACTERS);
        assert!(!format!("{first:?}").contains(&*first.0));
    }

    #[test]
    fn a_token_that_others_could_read_or_that_is_none_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let first = Token::of_folder(folder.path()).unwrap();
        let path = folder.path().join(TOKEN_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let second = Token::of_folder(folder.path()).unwrap();
        assert_ne!(first.0, second.0);
        private_files::write(&path, b"short").unwrap();
        assert_ne!(Token::of_folder(folder.path()).unwrap().0.len(), 5);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
