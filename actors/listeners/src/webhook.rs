//! Webhooks: events are sent to an HTTP server of somebody else's, signed.
//!
//! Each event is a POST of its own. The body is the event as [`event_json`] writes it; the headers are
//!
//! ```text
//! Content-Type: application/json
//! Mailhorn-Event-Id: 00000000-0000-0000-0000-000000001111
//! Mailhorn-Event-Kind: Added
//! Mailhorn-Signature: t=1767225600,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd
//! ```
//!
//! # For receivers
//!
//! * **Verify** that it came from here: take `t` and the body's octets as they came, compute HMAC-SHA256 (RFC 2104) with
//!   the secret over `t`, a full stop, and the body, and compare its lower-case hexadecimal form with `v1` in constant
//!   time. Refuse it if `t`, in seconds since the Unix epoch, is more than some minutes from your clock: else what somebody
//!   recorded can be sent again. `t` is the time of sending; a repetition has a new one. There may come to be other fields
//!   than `t` and `v1`: ignore them.
//! * **Expect repetitions**: an event comes at least once, with the same `Mailhorn-Event-Id` each time.
//! * **Expect any order between mailboxes.** Events of one mailbox and one `position.generation` come in their order, but
//!   for those that you called bad. `stamp` puts in order what several say of one message.
//! * **Answer** with 2xx when you have it, soon: take it now, work on it later. With 408, 429 or 5xx it waits, and
//!   everything behind it, until you have it. Any other 4xx says that you will never take this one: it is tried a few
//!   times, then it is a dead letter. A redirect is not followed and counts as an outage: the secret's owner says where
//!   events go.
//!
//! [`event_json`]: mailhorn_events::wire::event_json

use std::collections::BTreeSet;
use std::fmt::{self, Debug, Write as _};
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, Mac};
use mailhorn_events::wire::event_json;
use mailhorn_events::{Event, Happened, Happening};
use mailhorn_ports::{Clock, Handled, Listener};
use sha2::Sha256;
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

/// The shortest secret that is taken, in octets: what is shorter can be guessed from one request.
pub const SECRET_OCTETS_MIN: usize = 16;

/// Octets of an answer's body that are read at most; its beginning is said where the answer was not 2xx.
pub const ANSWER_OCTETS_MAX: u64 = 1024;

/// Octets of an answer's head at most. A longer one is no answer.
pub const ANSWER_HEAD_OCTETS_MAX: usize = 16 * 1024;

/// How a webhook is set up.
#[derive(Clone)]
pub struct WebhookOptions {
    /// Where to: `http://` or `https://`, with a host, without a user.
    pub url: String,
    /// What requests are signed with, at least [`SECRET_OCTETS_MIN`].
    pub secret: Vec<u8>,
    /// The kinds of event that are sent, by [`Happening::name`].
    pub kinds: BTreeSet<&'static str>,
    /// How long a request may take, from the look-up of the name to the end of the answer. The group's
    /// `execution_timeout` should be longer: an event that is given up by that counts as bad.
    pub timeout: Duration,
}

impl Debug for WebhookOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the secret nor the URL: it may hold another one.
        f.debug_struct("WebhookOptions")
            .field("kinds", &self.kinds)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Why a webhook can't be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Not a URL that it can send to.
    #[error("a webhook's URL is http:// or https:// with a host and without a user: {0}")]
    Url(String),
    /// It has fewer octets than [`SECRET_OCTETS_MIN`].
    #[error("a webhook's secret has at least {SECRET_OCTETS_MIN} octets")]
    Secret,
    /// No kind of event is called so.
    #[error("there are no events of kind {0:?}")]
    Kind(String),
    /// No kind is named: it would never send anything.
    #[error("a webhook names at least one kind of event")]
    NoKinds,
    /// The URL is `https://`, and the system has no roots to verify a certificate by.
    #[error("no root certificates are found on this system: {0}")]
    Roots(String),
    /// Nothing could be sent in no time.
    #[error("a webhook's timeout is more than nothing")]
    Timeout,
}

/// Sends events to one URL. See the module for what is sent, and what the answers do.
pub struct Webhook {
    sender: Arc<Sender>,
    kinds: BTreeSet<&'static str>,
}

impl Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the secret nor the whole URL: it may hold another one.
        f.debug_struct("Webhook")
            .field("host", &self.sender.url.host())
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

struct Sender {
    agent: Agent,
    url: Uri,
    secret: Vec<u8>,
    clock: Arc<dyn Clock>,
}

impl Webhook {
    /// A webhook. `clock` says when a request is signed.
    ///
    /// With `https://` the receiver's certificate is verified by the roots that the system has now: those who run a node
    /// decide whom it trusts, receivers often have a certificate of the house's own, and a root that is no longer trusted
    /// goes without a release of ours. Reads files.
    ///
    /// # Errors
    ///
    /// [`WebhookError`].
    pub fn new(options: WebhookOptions, clock: Arc<dyn Clock>) -> Result<Self, WebhookError> {
        Self::trusting(options, clock, system_roots)
    }

    fn trusting(
        options: WebhookOptions,
        clock: Arc<dyn Clock>,
        roots: impl FnOnce() -> Result<Vec<Certificate<'static>>, WebhookError>,
    ) -> Result<Self, WebhookError> {
        let url = url(&options.url)?;
        if options.secret.len() < SECRET_OCTETS_MIN {
            return Err(WebhookError::Secret);
        }
        if options.kinds.is_empty() {
            return Err(WebhookError::NoKinds);
        }
        if let Some(kind) = options.kinds.iter().find(|kind| !Happening::NAMES.contains(kind)) {
            return Err(WebhookError::Kind((*kind).to_owned()));
        }
        if options.timeout.is_zero() {
            return Err(WebhookError::Timeout);
        }
        let roots = if url.scheme_str() == Some("https") {
            roots()?
        } else {
            Vec::new()
        };
        let sender = Sender {
            agent: agent(options.timeout, &roots),
            url,
            secret: options.secret,
            clock,
        };
        Ok(Self {
            sender: Arc::new(sender),
            kinds: options.kinds,
        })
    }
}

/// An address that a webhook can send to.
///
/// # Errors
///
/// [`WebhookError::Url`].
pub fn url(text: &str) -> Result<Uri, WebhookError> {
    // What can't be taken apart may have a password in it, which is not said again.
    let unreadable = |_| WebhookError::Url("it can't be read".into());
    let uri: Uri = text.parse().map_err(unreadable)?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    let has_user = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    if has_user {
        return Err(WebhookError::Url("it has a user".into()));
    }
    if is_http && has_host {
        Ok(uri)
    } else {
        Err(WebhookError::Url(text.to_owned()))
    }
}

/// Those of them that can be read; it is enough that there are any.
fn system_roots() -> Result<Vec<Certificate<'static>>, WebhookError> {
    let found = rustls_native_certs::load_native_certs();
    let roots = found.certs.iter();
    let roots: Vec<_> = roots.map(|root| Certificate::from_der(root).to_owned()).collect();
    if roots.is_empty() {
        return Err(WebhookError::Roots(format!("{:?}", found.errors)));
    }
    Ok(roots)
}

fn agent(timeout: Duration, roots: &[Certificate<'static>]) -> Agent {
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(roots))
        // Handed in: else it would depend on who set the process's default first.
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Agent::config_builder()
        .http_status_as_error(false)
        // Events go where the settings say: no proxy of the environment, no redirect.
        .proxy(None)
        .max_redirects(0)
        .timeout_global(Some(timeout))
        .max_response_header_size(ANSWER_HEAD_OCTETS_MAX)
        .user_agent(concat!("mailhorn/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .build()
        .new_agent()
}

#[async_trait]
impl Listener for Webhook {
    fn handles(&self, event: &Event) -> bool {
        self.kinds.contains(event.happening.name())
    }

    async fn handle(&self, happened: &Happened) -> Handled {
        let (sender, happened) = (Arc::clone(&self.sender), happened.clone());
        // The client blocks; it ends by its own timeout also where nobody waits for it any more.
        let sent = tokio::task::spawn_blocking(move || sender.send(&happened)).await;
        sent.unwrap_or_else(|error| {
            let why = format!("the request was not made: {error}");
            // A panic over one event would be one each time, and must not stop all that are behind it.
            if error.is_panic() {
                Handled::Bad(why)
            } else {
                Handled::NotNow(why)
            }
        })
    }
}

impl Sender {
    fn send(&self, happened: &Happened) -> Handled {
        let body = event_json(happened);
        let seconds = self.clock.now_micros() / 1_000_000;
        let request = self
            .agent
            .post(&self.url)
            .header("Content-Type", "application/json")
            .header("Mailhorn-Event-Id", happened.id().to_string())
            .header("Mailhorn-Event-Kind", happened.event().happening.name())
            .header("Mailhorn-Signature", signature(&self.secret, seconds, &body));
        match request.send(&body) {
            Ok(mut answer) => judge(&mut answer),
            Err(error) => Handled::NotNow(format!("no answer: {error}")),
        }
    }
}

/// What an answer means for the event.
fn judge(answer: &mut Response<Body>) -> Handled {
    let status = answer.status();
    let text = beginning(answer.body_mut());
    let why = || format!("the answer was {status} {text:?}");
    match status.as_u16() {
        200..=299 => Handled::Done,
        408 | 429 => Handled::NotNow(why()),
        400..=499 => Handled::Bad(why()),
        _ => Handled::NotNow(why()),
    }
}

/// The beginning of an answer's body. That the rest doesn't come changes nothing: the status has come.
fn beginning(body: &mut Body) -> String {
    let mut octets = Vec::new();
    body.as_reader()
        .take(ANSWER_OCTETS_MAX)
        .read_to_end(&mut octets)
        .ok();
    String::from_utf8_lossy(&octets).into_owned()
}

/// The value of `Mailhorn-Signature`.
fn signature(secret: &[u8], seconds: u64, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        unreachable!("HMAC takes keys of any length (RFC 2104 §2)");
    };
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    let mut value = format!("t={seconds},v1=");
    for octet in mac.finalize().into_bytes() {
        // Writing to memory has no way to fail.
        write!(value, "{octet:02x}").ok();
    }
    value
}

#[cfg(test)]
mod tests;
