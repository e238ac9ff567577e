//! Dovecot 2.3 from its packages, set up to be fast: processes are reused, log-ins come from a file of plain secrets
//! through its cache, mail lies in sdbox and is synced as by default.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::load::{PASSWORD, user};
use crate::servers::Certificate;

/// Where packages put it.
const PROGRAM: &str = "/usr/sbin/dovecot";
/// Who owns the mail. Mail processes take on this user, so only root can start this.
const OWNER: &str = "uid=65534 gid=65534";
/// Its settings, to be filled in.
const SETTINGS: &str = include_str!("dovecot.conf");
const START_PATIENCE: Duration = Duration::from_secs(30);

/// A running Dovecot.
#[derive(Debug)]
pub(crate) struct Dovecot {
    master: Child,
    pub(crate) lmtp: SocketAddr,
    pub(crate) pop3: SocketAddr,
    pub(crate) pop3s: SocketAddr,
}

impl Dovecot {
    /// Why it can't be measured here, if it can't.
    pub(crate) fn obstacle() -> Option<&'static str> {
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| {
            use std::os::unix::fs::MetadataExt as _;
            own.uid() == 0
        });
        match (Path::new(PROGRAM).exists(), is_root) {
            (false, _) => Some("it is not installed (Debian: dovecot-core dovecot-lmtpd dovecot-pop3d)"),
            (true, false) => Some("only root can start it with mail of another user"),
            (true, true) => None,
        }
    }

    /// Writes its settings and starts it; returns when it accepts.
    pub(crate) fn start(dir: &Path, accounts: usize, certificate: &Certificate) -> anyhow::Result<Self> {
        let ports = free_ports()?;
        let [lmtp, pop3, pop3s] = ports;
        let settings = write_settings(dir, accounts, certificate, ports)?;
        Self::launch(&settings, lmtp, pop3, pop3s)
    }

    fn launch(
        settings: &Path,
        lmtp: SocketAddr,
        pop3: SocketAddr,
        pop3s: SocketAddr,
    ) -> anyhow::Result<Self> {
        let master = Command::new(PROGRAM)
            .arg("-F")
            .arg("-c")
            .arg(settings)
            .stdin(Stdio::null())
            .spawn()
            .context("dovecot")?;
        let mut dovecot = Self {
            master,
            lmtp,
            pop3,
            pop3s,
        };
        let until = Instant::now() + START_PATIENCE;
        while !(greets(lmtp) && greets(pop3)) {
            let ended = dovecot.master.try_wait()?;
            ensure!(
                ended.is_none() && Instant::now() < until,
                "dovecot does not start: see dovecot.log beside {}",
                settings.display()
            );
        }
        Ok(dovecot)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.master.id()
    }
}

impl Drop for Dovecot {
    fn drop(&mut self) {
        // Its processes end when their master is asked to.
        drop(Command::new("kill").arg(self.pid().to_string()).status());
        drop(self.master.wait());
    }
}

/// Whether a server is there and says something.
fn greets(address: SocketAddr) -> bool {
    use std::io::Read as _;
    let greeting = std::net::TcpStream::connect(address).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.read(&mut [0; 64])
    });
    greeting.is_ok_and(|octets| octets > 0)
}

fn free_ports() -> anyhow::Result<[SocketAddr; 3]> {
    let bind = || TcpListener::bind("127.0.0.1:0");
    // All are held until all are known, so that they differ.
    let held = [bind()?, bind()?, bind()?];
    Ok([
        held[0].local_addr()?,
        held[1].local_addr()?,
        held[2].local_addr()?,
    ])
}

fn write_settings(
    dir: &Path,
    accounts: usize,
    tls: &Certificate,
    ports: [SocketAddr; 3],
) -> anyhow::Result<PathBuf> {
    let mail = dir.join("mail");
    fs::create_dir_all(&mail)?;
    for (folder, mode) in [(dir, 0o755), (mail.as_path(), 0o777)] {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
    }
    let users = (0..accounts).map(|account| format!("{}:{{PLAIN}}{PASSWORD}\n", user(account)));
    fs::write(dir.join("users"), users.collect::<String>())?;
    let [lmtp, pop3, pop3s] = ports.map(|address| address.port());
    let values = [
        ("@DIR@", dir.display().to_string()),
        ("@CERTIFICATE@", tls.certificate.display().to_string()),
        ("@KEY@", tls.key.display().to_string()),
        ("@OWNER@", OWNER.to_owned()),
        ("@LMTP@", lmtp.to_string()),
        ("@POP3@", pop3.to_string()),
        ("@POP3S@", pop3s.to_string()),
    ];
    let settings = values
        .iter()
        .fold(SETTINGS.to_owned(), |settings, (name, value)| {
            settings.replace(name, value)
        });
    let file = dir.join("dovecot.conf");
    fs::write(&file, settings)?;
    Ok(file)
}
