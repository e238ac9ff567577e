//! SCRAM-SHA-256, the server's side (RFC 5802 §5 to §7, RFC 7677).
//!
//! Four messages: client-first, server-first, client-final, server-final. Channel binding is not offered:
//! the flags `n` and `y` go on, `p=…` ends the exchange (RFC 5802 §6).

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::encoding::{decode, encode};
use crate::exchange::{Exchange, Malformed, Progress};
use crate::keys::{StoredKeys, hmac};
use crate::prepare::prepare_name;
use crate::{CLIENT_NONCE_OCTETS_MAX, Secret};

/// The server's part of a SCRAM nonce: random, printable, without a comma, never used twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerNonce(String);

impl ServerNonce {
    /// The fewest characters that [`ServerNonce::from_text`] takes: below it, chance might repeat one.
    pub const CHARACTERS_MIN: usize = 16;
    /// The most characters that [`ServerNonce::from_text`] takes.
    pub const CHARACTERS_MAX: usize = 128;

    /// From octets of a cryptographic source of randomness.
    #[must_use]
    pub fn new(random: [u8; 18]) -> Self {
        Self(encode(&random))
    }

    /// From characters, as the examples of the RFCs have them. `None` when one of them is not allowed in a
    /// nonce or they are too few or too many.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let fits = (Self::CHARACTERS_MIN..=Self::CHARACTERS_MAX).contains(&text.len());
        (fits && is_nonce(text)).then(|| Self(text.to_owned()))
    }
}

/// An exchange that has read client-first and waits for the keys of its user.
#[derive(Debug)]
pub struct KeysAwaited(Box<ClientFirst>);

#[derive(Debug)]
struct ClientFirst {
    user: String,
    /// `n,a=name,` or the like, as it came: client-final repeats it (RFC 5802 §5.1, attribute c).
    gs2_header: String,
    /// client-first-message-bare, as it came: a part of what both sides sign.
    bare: String,
    nonce: String,
}

impl KeysAwaited {
    /// Goes on with the keys of the user, or with [`StoredKeys::fake`] for one who does not exist: the answer
    /// is a challenge, server-first.
    #[must_use]
    pub fn keys(self, keys: StoredKeys, nonce: &ServerNonce) -> Progress {
        let ClientFirst {
            user,
            gs2_header,
            bare,
            nonce: client_nonce,
        } = *self.0;
        let nonce = format!("{client_nonce}{}", nonce.0);
        let server_first = format!("r={nonce},s={},i={}", encode(&keys.salt), keys.iterations);
        let challenge = server_first.clone().into_bytes();
        let awaited = ProofAwaited {
            user,
            gs2_header,
            client_first_bare: bare,
            server_first,
            nonce,
            keys,
        };
        Progress::Challenge(challenge, Exchange::scram_final(awaited))
    }
}

/// An exchange that has sent server-first and waits for the proof.
#[derive(Debug)]
pub(crate) struct ProofAwaited {
    user: String,
    gs2_header: String,
    client_first_bare: String,
    server_first: String,
    /// Both parts.
    nonce: String,
    keys: StoredKeys,
}

/// Reads client-first (RFC 5802 §7).
pub(crate) fn client_first(message: &[u8]) -> Progress {
    match parse_client_first(message) {
        Ok(first) => Progress::FetchKeys {
            user: first.user.clone(),
            then: KeysAwaited(Box::new(first)),
        },
        Err(malformed) => Progress::Malformed(malformed),
    }
}

fn parse_client_first(message: &[u8]) -> Result<ClientFirst, Malformed> {
    let message = std::str::from_utf8(message).map_err(|_| Malformed::Syntax)?;
    let (flag, rest) = message.split_once(',').ok_or(Malformed::Syntax)?;
    let (identity, bare) = rest.split_once(',').ok_or(Malformed::Syntax)?;
    match flag {
        "n" | "y" => {}
        _ if flag.starts_with("p=") => return Err(Malformed::ChannelBinding),
        _ => return Err(Malformed::Syntax),
    }
    // RFC 5802 §5.1: m= is an extension that a server must understand or refuse; we understand none.
    if bare.starts_with("m=") {
        return Err(Malformed::Extension);
    }
    let mut attributes = bare.split(',');
    let name = attributes
        .next()
        .and_then(|part| part.strip_prefix("n="))
        .ok_or(Malformed::Syntax)?;
    let nonce = attributes
        .next()
        .and_then(|part| part.strip_prefix("r="))
        .ok_or(Malformed::Syntax)?;
    if nonce.len() > CLIENT_NONCE_OCTETS_MAX || !is_nonce(nonce) {
        return Err(Malformed::Nonce);
    }
    let user = saslname(name)?;
    if !identity.is_empty() {
        let other = identity.strip_prefix("a=").ok_or(Malformed::Syntax)?;
        if saslname(other)? != user {
            return Err(Malformed::OtherIdentity);
        }
    }
    Ok(ClientFirst {
        user,
        gs2_header: format!("{flag},{identity},"),
        bare: bare.to_owned(),
        nonce: nonce.to_owned(),
    })
}

/// `=2C` is a comma and `=3D` an equals sign; any other `=` is an error (RFC 5802 §5.1, attribute n).
fn saslname(escaped: &str) -> Result<String, Malformed> {
    let mut name = String::with_capacity(escaped.len());
    let mut pieces = escaped.split('=');
    name.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (character, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Malformed::Name),
        };
        name.push(character);
        name.push_str(rest);
    }
    prepare_name(name.as_bytes()).ok_or(Malformed::Name)
}

/// RFC 5802 §7, `printable`: 0x21 to 0x7E without the comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|octet| octet.is_ascii_graphic() && octet != b',')
}

impl ProofAwaited {
    /// Reads client-final and checks its proof (RFC 5802 §3, §7).
    pub(crate) fn client_final(self, message: &[u8]) -> Progress {
        match self.parse_client_final(message) {
            Ok((without_proof, proof)) => self.verify(without_proof, &proof),
            Err(malformed) => Progress::Malformed(malformed),
        }
    }

    fn parse_client_final<'m>(&self, message: &'m [u8]) -> Result<(&'m str, [u8; 32]), Malformed> {
        let message = std::str::from_utf8(message).map_err(|_| Malformed::Syntax)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Malformed::Syntax)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes
            .next()
            .and_then(|part| part.strip_prefix("c="))
            .ok_or(Malformed::Syntax)?;
        let nonce = attributes
            .next()
            .and_then(|part| part.strip_prefix("r="))
            .ok_or(Malformed::Syntax)?;
        // What was said about channel binding in client-first must come back signed, or somebody between us
        // and the client could have changed it.
        if decode(binding.as_bytes()) != Some(Secret::new(self.gs2_header.as_bytes())) {
            return Err(Malformed::ChannelBinding);
        }
        if nonce != self.nonce {
            return Err(Malformed::Nonce);
        }
        let proof = decode(proof.as_bytes()).ok_or(Malformed::Syntax)?;
        let proof = proof.declassify().try_into().map_err(|_| Malformed::Syntax)?;
        Ok((without_proof, proof))
    }

    fn verify(self, without_proof: &str, proof: &[u8; 32]) -> Progress {
        let signed: [&[u8]; 5] = [
            self.client_first_bare.as_bytes(),
            b",",
            self.server_first.as_bytes(),
            b",",
            without_proof.as_bytes(),
        ];
        let mut client_key = hmac(&self.keys.stored_key, &signed);
        for (octet, proven) in client_key.iter_mut().zip(proof) {
            *octet ^= proven;
        }
        if !bool::from(Sha256::digest(client_key).ct_eq(&self.keys.stored_key)) {
            return Progress::Disproven { user: self.user };
        }
        let signature = hmac(&self.keys.server_key, &signed);
        let server_final = format!("v={}", encode(&signature));
        Progress::Challenge(server_final.into_bytes(), Exchange::scram_acknowledged(self.user))
    }
}

#[cfg(test)]
mod tests;
