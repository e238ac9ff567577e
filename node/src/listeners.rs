//! The sockets that the node listens on, bound before anything else begins: a port that is taken is told at once,
//! and a test can take any that is free and learn which.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};

use crate::settings::Settings;

/// Bound sockets, not blocking, for each service.
#[derive(Debug)]
pub struct Listeners {
    /// SMTP with STARTTLS.
    pub smtp: Vec<TcpListener>,
    /// SMTP with TLS from the first octet.
    pub smtp_tls: Vec<TcpListener>,
    /// LMTP.
    pub lmtp: Vec<TcpListener>,
    /// POP3 with STLS.
    pub pop3: Vec<TcpListener>,
    /// POP3 with TLS from the first octet.
    pub pop3_tls: Vec<TcpListener>,
    /// The admin HTTP server.
    pub admin: Vec<TcpListener>,
}

/// Where a node can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// SMTP with STARTTLS.
    pub smtp: Vec<SocketAddr>,
    /// SMTP with TLS from the first octet.
    pub smtp_tls: Vec<SocketAddr>,
    /// LMTP.
    pub lmtp: Vec<SocketAddr>,
    /// POP3 with STLS.
    pub pop3: Vec<SocketAddr>,
    /// POP3 with TLS from the first octet.
    pub pop3_tls: Vec<SocketAddr>,
    /// The admin HTTP server.
    pub admin: Vec<SocketAddr>,
}

impl Addresses {
    /// Where the settings want it to be reached.
    #[must_use]
    pub fn wanted(settings: &Settings) -> Self {
        Self {
            smtp: settings.smtp.listen.clone(),
            smtp_tls: settings.smtp.listen_tls.clone(),
            lmtp: settings.lmtp.listen.clone(),
            pop3: settings.pop3.listen.clone(),
            pop3_tls: settings.pop3.listen_tls.clone(),
            admin: settings.admin.listen.clone(),
        }
    }
}

/// What to do about an address whose port is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Give up.
    Refuse,
    /// Take a port that is free.
    AnyPort,
}

impl Listeners {
    /// Binds every address that the settings name.
    ///
    /// # Errors
    ///
    /// The first address that can't be bound, with its setting.
    pub fn bind(settings: &Settings, taken: Taken) -> anyhow::Result<Self> {
        let backlog = i32::try_from(settings.net.backlog).unwrap_or(i32::MAX);
        let bind = |key: &str, addresses: &[SocketAddr]| -> anyhow::Result<Vec<TcpListener>> {
            let bound = addresses.iter().map(|address| {
                bind(*address, backlog, taken)
                    .with_context(|| format!("{key}: {address} can't be listened on"))
            });
            bound.collect()
        };
        Ok(Self {
            smtp: bind("smtp.listen", &settings.smtp.listen)?,
            smtp_tls: bind("smtp.listen_tls", &settings.smtp.listen_tls)?,
            lmtp: bind("lmtp.listen", &settings.lmtp.listen)?,
            pop3: bind("pop3.listen", &settings.pop3.listen)?,
            pop3_tls: bind("pop3.listen_tls", &settings.pop3.listen_tls)?,
            admin: bind("admin.listen", &settings.admin.listen)?,
        })
    }

    /// Where they really listen.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn addresses(&self) -> io::Result<Addresses> {
        let of = |listeners: &[TcpListener]| {
            listeners
                .iter()
                .map(TcpListener::local_addr)
                .collect::<io::Result<Vec<_>>>()
        };
        Ok(Addresses {
            smtp: of(&self.smtp)?,
            smtp_tls: of(&self.smtp_tls)?,
            lmtp: of(&self.lmtp)?,
            pop3: of(&self.pop3)?,
            pop3_tls: of(&self.pop3_tls)?,
            admin: of(&self.admin)?,
        })
    }
}

fn bind(address: SocketAddr, backlog: i32, taken: Taken) -> io::Result<TcpListener> {
    match bind_exactly(address, backlog) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && taken == Taken::AnyPort => {
            bind_exactly(SocketAddr::new(address.ip(), 0), backlog)
        }
        bound => bound,
    }
}

fn bind_exactly(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the life before.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that "[::]:25" beside "0.0.0.0:25" means what it says.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Sources;

    fn settings(smtp: SocketAddr) -> Settings {
        let mut settings = Sources::default().load().unwrap();
        settings.smtp.listen = vec![smtp];
        settings.lmtp.listen = vec![];
        settings.pop3.listen = vec![];
        settings.pop3.listen_tls = vec![];
        settings.admin.listen = vec![];
        settings
    }

    #[test]
    fn a_port_that_is_taken_is_told_with_its_setting_or_replaced() {
        let first = Listeners::bind(&settings("127.0.0.1:0".parse().unwrap()), Taken::Refuse).unwrap();
        let address = first.addresses().unwrap().smtp[0];
        assert_ne!(address.port(), 0);
        let refused = Listeners::bind(&settings(address), Taken::Refuse).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("smtp.listen: {address} can't be listened on")
        );
        let other = Listeners::bind(&settings(address), Taken::AnyPort)
            .unwrap()
            .addresses()
            .unwrap();
        assert_ne!(other.smtp[0], address);
    }
}
