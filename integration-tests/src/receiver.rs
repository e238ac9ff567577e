//! A receiver of webhooks: a small HTTP server that keeps what it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// How long a request is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests that may wait to be looked at.
const REQUESTS_WAITING_MAX: usize = 1_024;

/// The program that the webhook calls.
#[derive(Debug)]
pub struct Receiving {
    address: SocketAddr,
    /// What it answers with.
    status: Arc<AtomicU16>,
    /// What it was sent, with what it answered.
    bodies: Receiver<(u16, Value)>,
}

impl Receiving {
    /// Listens at an address, and answers every request with `status`.
    ///
    /// # Panics
    ///
    /// When the address can't be had.
    #[must_use]
    pub fn start(at: &str, status: u16) -> Self {
        let listener = TcpListener::bind(at).expect("a port");
        let address = listener.local_addr().expect("an address");
        let status = Arc::new(AtomicU16::new(status));
        let (told, bodies) = sync_channel(REQUESTS_WAITING_MAX);
        let answer = Arc::clone(&status);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, told) = (Arc::clone(&answer), told.clone());
                thread::spawn(move || serve(stream, &answer, &told));
            }
        });
        Self {
            address,
            status,
            bodies,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it answers with this.
    pub fn answer(&self, status: u16) {
        self.status.store(status, SeqCst);
    }

    /// The next request, if one comes within `patience`, with what it was answered.
    #[must_use]
    pub fn next_within(&self, patience: Duration) -> Option<(u16, Value)> {
        self.bodies.recv_timeout(patience).ok()
    }

    /// The next request that was answered so.
    ///
    /// # Panics
    ///
    /// When none comes.
    #[must_use]
    pub fn next(&self, status: u16) -> Value {
        loop {
            let (answered, body) = self.next_within(PATIENCE).expect("a request");
            if answered == status {
                return body;
            }
        }
    }
}

/// Takes the requests of a connection.
fn serve(stream: TcpStream, status: &AtomicU16, told: &SyncSender<(u16, Value)>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line).is_ok_and(|octets| octets > 0) && line != "\r\n" {
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if line.is_empty() || reader.read_exact(&mut body).is_err() {
            return;
        }
        let status = status.load(SeqCst);
        let body = serde_json::from_slice(&body).expect("JSON");
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        if told.send((status, body)).is_err() || reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
