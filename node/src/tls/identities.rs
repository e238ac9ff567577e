//! Which certificate a client is shown, by the name that it asks for (SNI, RFC 6066 §3).
//!
//! What is in use is one value behind a lock that is held for the copy of a pointer, so that a handshake sees all of a
//! reload or nothing. The key of tickets is part of it: a ticket of an identity that was given up, which may have been
//! because its key got out, resumes nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::Certificate;

/// The certificates in use. Shared by all handshakes.
pub(super) struct Identities(RwLock<Arc<Current>>);

struct Current {
    /// The one for everybody first.
    all: Vec<Arc<Certificate>>,
    by_name: HashMap<String, Arc<CertifiedKey>>,
    tickets: Arc<dyn ProducesTickets>,
}

impl Current {
    fn new(all: Vec<Arc<Certificate>>) -> Result<Self, rustls::Error> {
        let mut by_name = HashMap::new();
        for certificate in &all {
            for name in &certificate.names {
                by_name
                    .entry(name.clone())
                    .or_insert_with(|| Arc::clone(&certificate.chain));
            }
        }
        Ok(Self {
            all,
            by_name,
            tickets: ring::Ticketer::new()?,
        })
    }

    /// That of the name itself, else that of all names beside it (RFC 9525 §6.3: `*` is one whole label, the first),
    /// else the one for everybody.
    fn chosen(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let by_name = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let of_wildcard = || {
                let (_, parent) = name.split_once('.')?;
                self.by_name.get(&format!("*.{parent}"))
            };
            self.by_name.get(&name).or_else(of_wildcard)
        });
        let default = || self.all.first().map(|certificate| &certificate.chain);
        by_name.or_else(default).map(Arc::clone)
    }
}

impl Identities {
    pub(super) fn new(
        default: Arc<Certificate>,
        others: Vec<Arc<Certificate>>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self(RwLock::new(Arc::new(Current::new(line(default, others))?))))
    }

    /// Puts these in place of what is in use, with a new key for tickets. Whether they differ; if not, nothing is done.
    pub(super) fn replace(
        &self,
        default: Arc<Certificate>,
        others: Vec<Arc<Certificate>>,
    ) -> Result<bool, rustls::Error> {
        let new = line(default, others);
        let current = self.current();
        let is_same =
            current.all.len() == new.len() && current.all.iter().zip(&new).all(|(old, new)| old.is_same(new));
        if !is_same {
            *self.0.write() = Arc::new(Current::new(new)?);
        }
        Ok(!is_same)
    }

    /// What is in use, the one for everybody first.
    pub(super) fn all(&self) -> Vec<Arc<Certificate>> {
        self.current().all.clone()
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.0.read())
    }
}

fn line(default: Arc<Certificate>, others: Vec<Arc<Certificate>>) -> Vec<Arc<Certificate>> {
    let mut line = vec![default];
    line.extend(others);
    line
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current().chosen(hello.server_name())
    }
}

impl ProducesTickets for Identities {
    fn enabled(&self) -> bool {
        self.current().tickets.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.current().tickets.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.current().tickets.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.current().tickets.decrypt(cipher)
    }
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all().iter().map(|one| &one.names))
            .finish()
    }
}
