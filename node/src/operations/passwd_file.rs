//! Dovecot's passwd-file: `address:{SCHEME}secret`, then fields that don't concern us.

use super::views::NewUser;

/// The longest line that is taken, in octets.
pub const LINE_OCTETS_MAX: usize = 8_192;

/// A line that means something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// What it says, or why it can't be read.
    pub user: Result<NewUser, BadLine>,
}

/// Why a line can't be read. Holds nothing of it: it may be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// Longer than [`LINE_OCTETS_MAX`].
    #[error("the line is longer than {LINE_OCTETS_MAX} octets")]
    TooLong,
    /// Not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// There is no colon, or nothing before it.
    #[error("the line does not begin with an address and a colon")]
    NoAddress,
    /// The second field is empty.
    #[error("there is no password after the address")]
    NoPassword,
}

/// Reads a file. Empty lines and comments (`#`) are passed over.
pub fn lines(content: &[u8]) -> impl Iterator<Item = Line> + '_ {
    content
        .split(|octet| *octet == b'\n')
        .enumerate()
        .filter_map(|(index, line)| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let is_blank = line.trim_ascii().is_empty() || line.starts_with(b"#");
            (!is_blank).then(|| Line {
                number: index.saturating_add(1),
                user: read(line),
            })
        })
}

fn read(line: &[u8]) -> Result<NewUser, BadLine> {
    if line.len() > LINE_OCTETS_MAX {
        return Err(BadLine::TooLong);
    }
    let text = str::from_utf8(line).map_err(|_| BadLine::NotUtf8)?;
    let (address, rest) = text.split_once(':').ok_or(BadLine::NoAddress)?;
    let address = address.trim();
    if address.is_empty() {
        return Err(BadLine::NoAddress);
    }
    match rest.split(':').next() {
        None | Some("") => Err(BadLine::NoPassword),
        Some(secret) => Ok(NewUser::new(address.to_owned(), secret.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_empty_lines_and_further_fields_are_passed_over_and_numbers_are_kept() {
        let file = b"# our users\r\n\
            \r\n\
            alice@example.org:{PLAIN}secret\r\n\
            bob@example.org:{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$c2FsdA$aGFzaA:1000:1000::/home/bob::userdb_quota=1G\n\
            no colon\n\
            :{PLAIN}x\n\
            carol@example.org:\n\
            dave@example.org::1000\n\
            \xff@example.org:{PLAIN}x\n\
            erin@example.org:{PLAIN} spaces are part of it ";
        let read: Vec<_> = lines(file)
            .map(|line| {
                let user = line
                    .user
                    .map(|user| (user.address.clone(), user.secret().declassify().to_vec()));
                (line.number, user)
            })
            .collect();
        let user = |address: &str, secret: &str| Ok((address.to_owned(), secret.as_bytes().to_vec()));
        assert_eq!(
            read,
            [
                (3, user("alice@example.org", "{PLAIN}secret")),
                (
                    4,
                    user(
                        "bob@example.org",
                        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$c2FsdA$aGFzaA"
                    )
                ),
                (5, Err(BadLine::NoAddress)),
                (6, Err(BadLine::NoAddress)),
                (7, Err(BadLine::NoPassword)),
                (8, Err(BadLine::NoPassword)),
                (9, Err(BadLine::NotUtf8)),
                (10, user("erin@example.org", "{PLAIN} spaces are part of it ")),
            ]
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_told() {
        let file = [b"a@b:".as_slice(), &vec![b'x'; LINE_OCTETS_MAX]].concat();
        let read: Vec<_> = lines(&file).collect();
        assert_eq!(
            read,
            [Line {
                number: 1,
                user: Err(BadLine::TooLong)
            }]
        );
    }

    #[test]
    fn a_secret_is_never_shown() {
        let [line] = lines(b"a@b.example:{PLAIN}hunter2")
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        assert!(!format!("{line:?}").contains("hunter2"));
    }
}
