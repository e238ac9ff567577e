//! The commands' way to a running node: its admin API.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::admin::{ADDRESS_FILE, ErrorBody, TOKEN_FILE, Token};

/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to answer: emptying a large mailbox takes a while, and so do fifty password hashes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// The largest answer that is read: a page of messages is far below.
const ANSWER_OCTETS_MAX: u64 = 16 * 1024 * 1024;

/// A client of one node.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    address: SocketAddr,
    token: Token,
}

impl Client {
    /// A client of the node that has this data folder.
    ///
    /// # Errors
    ///
    /// When the node's address or token can't be read: it has no admin server, or belongs to somebody else.
    pub fn of_folder(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join(ADDRESS_FILE);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read.with_context(|| format!("{}: can't be read", path.display()))?,
        };
        let address = text
            .trim()
            .parse()
            .map_err(|_| anyhow!("it has no admin server (admin.listen)"))?;
        let token = Token::read(data_dir)?.ok_or_else(|| {
            anyhow!(
                "{}: there is no token for its admin server",
                data_dir.join(TOKEN_FILE).display()
            )
        })?;
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // The token is for the node alone: no proxy of the environment, no redirect.
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            address,
            token,
        })
    }

    /// Where the node's admin server is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether anybody answers there.
    ///
    /// # Errors
    ///
    /// Why not.
    pub fn check(&self) -> anyhow::Result<()> {
        self.agent.get(format!("http://{}/livez", self.address)).call()?;
        Ok(())
    }

    /// Asks for something.
    ///
    /// # Errors
    ///
    /// What the node says, or why it could not be asked.
    pub fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<T> {
        let request = self.agent.get(self.url(path)).query_pairs(query.iter().copied());
        read(
            request
                .header("authorization", self.token.authorization())
                .call()?,
        )
    }

    /// Sends something and reads the answer.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<T> {
        let request = self
            .agent
            .post(self.url(path))
            .header("authorization", self.token.authorization());
        read(request.send_json(body)?)
    }

    /// Asks for something to be done that needs no more words.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub fn ask(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Response<Body>> {
        let request = self
            .agent
            .post(self.url(path))
            .query_pairs(query.iter().copied())
            .header("authorization", self.token.authorization());
        accepted(request.send_empty()?)
    }

    /// Sets something and reads the answer, if one is expected.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub fn put(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<Response<Body>> {
        let request = self
            .agent
            .put(self.url(path))
            .header("authorization", self.token.authorization());
        accepted(request.send_json(body)?)
    }

    /// Follows something that has no end: the answer is read as it comes, for as long as the node gives it.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub fn follow(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        last_event_id: Option<&str>,
    ) -> anyhow::Result<Response<Body>> {
        let mut request = self
            .agent
            .get(self.url(path))
            .query_pairs(query.iter().copied())
            .header("authorization", self.token.authorization());
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let request = request
            .config()
            .timeout_global(None)
            .timeout_recv_response(Some(ANSWER_TIMEOUT));
        accepted(request.build().call()?)
    }

    /// Removes something and reads the answer, if one is expected.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub fn delete(&self, path: &[&str]) -> anyhow::Result<Response<Body>> {
        let request = self
            .agent
            .delete(self.url(path))
            .header("authorization", self.token.authorization());
        accepted(request.call()?)
    }

    fn url(&self, path: &[&str]) -> String {
        let path: String = path
            .iter()
            .map(|segment| format!("/{}", percent_encoded(segment)))
            .collect();
        format!("http://{}/api/v1{path}", self.address)
    }
}

/// Reads an answer.
///
/// # Errors
///
/// What the node says, or that the answer makes no sense.
pub fn read<T: DeserializeOwned>(response: Response<Body>) -> anyhow::Result<T> {
    let mut response = accepted(response)?;
    let text = response
        .body_mut()
        .with_config()
        .limit(ANSWER_OCTETS_MAX)
        .read_to_string()?;
    serde_json::from_str(&text).context("the node's answer makes no sense; is it of another version?")
}

fn accepted(mut response: Response<Body>) -> anyhow::Result<Response<Body>> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let text = response
        .body_mut()
        .with_config()
        .limit(ANSWER_OCTETS_MAX)
        .read_to_string()?;
    match serde_json::from_str::<ErrorBody>(&text) {
        Ok(body) => bail!("{}", body.error),
        Err(_) => bail!("the node answered {status}"),
    }
}

/// A segment of a path (RFC 3986 §3.3), everything but unreserved characters encoded.
fn percent_encoded(segment: &str) -> String {
    let encode = |octet: u8| match octet {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(octet).to_string(),
        _ => format!("%{octet:02X}"),
    };
    segment.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_address_holds_it_stays_one_segment() {
        assert_eq!(
            percent_encoded("a/b?c%d@example.org"),
            "a%2Fb%3Fc%25d%40example.org"
        );
        assert_eq!(percent_encoded("ä"), "%C3%A4");
    }
}
