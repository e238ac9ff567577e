use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use mailhorn_ports::memory::ManualClock;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::testing::{delivered, happened, made};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const SENT_MICROS: u64 = 1_767_225_600_999_999;
/// So long that no test sees it end.
const LONG: Duration = Duration::from_secs(60);

fn options(url: &str) -> WebhookOptions {
    WebhookOptions {
        url: url.to_owned(),
        secret: SECRET.to_vec(),
        kinds: BTreeSet::from(["Added"]),
        timeout: LONG,
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(SENT_MICROS))
}

fn webhook(url: &str) -> Webhook {
    Webhook::new(options(url), clock()).unwrap()
}

#[derive(Debug)]
struct Request {
    line: String,
    headers: HashMap<String, String>,
    body: String,
}

fn read(stream: impl Read) -> Request {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let first = line();
    let mut headers = HashMap::new();
    loop {
        let header = line();
        let Some((name, value)) = header.split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    Request {
        line: first,
        headers,
        body: String::from_utf8(body).unwrap(),
    }
}

/// A server that answers one connection after the other so. Its URL, and what it was sent.
fn server(answers: Vec<String>) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?who=crm", listener.local_addr().unwrap());
    let (sender, requests) = sync_channel(16);
    thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            sender.send(read(&stream)).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, requests)
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

async fn handled(status: &str) -> Handled {
    let (url, _requests) = server(vec![answer(status, "because")]);
    webhook(&url).handle(&happened([delivered(1)])[0]).await
}

#[tokio::test]
async fn what_is_sent_can_be_verified() {
    let (url, requests) = server(vec![answer("204 No Content", "")]);
    let happened = &happened([delivered(1)])[0];
    assert_eq!(webhook(&url).handle(happened).await, Handled::Done);
    let request = requests.recv().unwrap();
    assert_eq!(request.line, "POST /hook?who=crm HTTP/1.1");
    assert_eq!(request.body, event_json(happened));
    assert_eq!(request.headers["content-type"], "application/json");
    assert_eq!(request.headers["mailhorn-event-id"], happened.id().to_string());
    assert_eq!(request.headers["mailhorn-event-kind"], "Added");
    let signature = &request.headers["mailhorn-signature"];
    let (time, code) = signature.split_once(",v1=").unwrap();
    assert_eq!(time, "t=1767225600");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
    mac.update(format!("1767225600.{}", request.body).as_bytes());
    let code: Vec<u8> = (0..code.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&code[at..at + 2], 16).unwrap())
        .collect();
    assert!(mac.verify_slice(&code).is_ok());
}

/// Computed by another implementation: `printf '1767225600.{}' | openssl dgst -sha256 -hmac 0123456789abcdef`.
#[test]
fn the_signature_is_what_others_compute() {
    assert_eq!(
        signature(b"0123456789abcdef", 1_767_225_600, "{}"),
        "t=1767225600,v1=99902517b3069f78750aa0520b0493482454c2d30a579c7acc839f3363ca1b88"
    );
}

#[tokio::test]
async fn the_status_says_what_becomes_of_the_event() {
    for status in ["200 OK", "201 Created", "299 Whatever"] {
        assert_eq!(handled(status).await, Handled::Done, "{status}");
    }
    for status in [
        "400 Bad Request",
        "401 Unauthorized",
        "404 Not Found",
        "410 Gone",
        "422 No",
    ] {
        let handled = handled(status).await;
        assert!(
            matches!(&handled, Handled::Bad(why) if why.contains("because")),
            "{handled:?}"
        );
    }
    for status in [
        "408 Request Timeout",
        "429 Too Many Requests",
        "500 Oops",
        "503 Away",
    ] {
        let handled = handled(status).await;
        assert!(
            matches!(&handled, Handled::NotNow(why) if why.contains("because")),
            "{handled:?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (elsewhere, requests) = server(vec![answer("200 OK", "")]);
    for status in [
        "301 Moved",
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let redirect = format!(
            "HTTP/1.1 {status}\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let (url, _first) = server(vec![redirect]);
        let handled = webhook(&url).handle(&happened([delivered(1)])[0]).await;
        assert!(matches!(handled, Handled::NotNow(_)), "{handled:?}");
    }
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn a_closed_port_is_not_now() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let handled = webhook(&format!("http://{closed}/"))
        .handle(&happened([delivered(1)])[0])
        .await;
    assert!(matches!(handled, Handled::NotNow(_)), "{handled:?}");
}

#[tokio::test]
async fn no_answer_in_time_is_not_now() {
    // Accepts, as the system does for it, and never says anything.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let options = WebhookOptions {
        timeout: Duration::from_millis(200),
        ..options(&url)
    };
    let webhook = Webhook::new(options, clock()).unwrap();
    let handled = webhook.handle(&happened([delivered(1)])[0]).await;
    assert!(matches!(handled, Handled::NotNow(_)), "{handled:?}");
}

#[tokio::test]
async fn what_is_no_http_is_not_now() {
    let (url, _requests) = server(vec!["220 mail.example.org ESMTP\r\n".into()]);
    let handled = webhook(&url).handle(&happened([delivered(1)])[0]).await;
    assert!(matches!(handled, Handled::NotNow(_)), "{handled:?}");
}

#[tokio::test]
async fn a_long_answer_is_not_read_to_its_end() {
    let (url, _requests) = server(vec![answer("400 Bad Request", &"x".repeat(100_000))]);
    let handled = webhook(&url).handle(&happened([delivered(1)])[0]).await;
    let Handled::Bad(why) = handled else {
        panic!("{handled:?}");
    };
    assert!(
        why.len() < 2 * usize::try_from(ANSWER_OCTETS_MAX).unwrap(),
        "{}",
        why.len()
    );
}

#[tokio::test]
async fn a_status_counts_though_its_body_does_not_come() {
    let cut_off = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf".to_owned();
    let (url, _requests) = server(vec![cut_off]);
    assert_eq!(
        webhook(&url).handle(&happened([delivered(1)])[0]).await,
        Handled::Done
    );
}

/// A server with a certificate that only the caller knows; it answers so many connections.
fn tls_server(connections: usize) -> (String, Certificate<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = Certificate::from_der(made.cert.der()).to_owned();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            // A client that does not trust it ends the handshake.
            if connection.complete_io(&mut stream).is_ok() {
                let mut stream: StreamOwned<ServerConnection, TcpStream> =
                    StreamOwned::new(connection, stream);
                read(&mut stream);
                stream.write_all(answer("200 OK", "").as_bytes()).unwrap();
            }
        }
    });
    (url, certificate)
}

#[tokio::test]
async fn a_certificate_is_verified() {
    let (url, certificate) = tls_server(2);
    let (_, other) = tls_server(0);
    let trusting = |root| Webhook::trusting(options(&url), clock(), || Ok(vec![root])).unwrap();
    let event = &happened([delivered(1)])[0];
    let handled = trusting(other).handle(event).await;
    assert!(matches!(handled, Handled::NotNow(_)), "{handled:?}");
    assert_eq!(trusting(certificate).handle(event).await, Handled::Done);
}

#[test]
fn only_the_kinds_that_are_named_are_sent() {
    let webhook = webhook("http://127.0.0.1/");
    let events = happened([delivered(1), made("Work")]);
    assert!(webhook.handles(events[0].event()));
    assert!(!webhook.handles(events[1].event()));
}

#[test]
fn what_can_not_work_is_refused_at_once() {
    let refused = |change: fn(&mut WebhookOptions)| {
        let mut options = options("http://127.0.0.1/");
        change(&mut options);
        Webhook::new(options, clock()).unwrap_err()
    };
    for url in ["", "127.0.0.1", "/hook", "ftp://127.0.0.1/", "http://"] {
        let options = options(url);
        let error = Webhook::new(options, clock()).unwrap_err();
        assert!(matches!(error, WebhookError::Url(_)), "{url:?}");
    }
    let error = refused(|options| options.url = "https://ann:hush@example.org/".into());
    assert!(!error.to_string().contains("hush"), "{error}");
    assert_eq!(
        refused(|options| options.secret.truncate(15)),
        WebhookError::Secret
    );
    assert_eq!(refused(|options| options.kinds.clear()), WebhookError::NoKinds);
    let error = refused(|options| options.kinds = BTreeSet::from(["Added", "Eaten"]));
    assert_eq!(error, WebhookError::Kind("Eaten".into()));
    assert_eq!(
        refused(|options| options.timeout = Duration::ZERO),
        WebhookError::Timeout
    );
    let none = || Err(WebhookError::Roots("none".into()));
    let error = Webhook::trusting(options("https://localhost/"), clock(), none).unwrap_err();
    assert_eq!(error, WebhookError::Roots("none".into()));
}

#[test]
fn the_secret_is_never_shown() {
    let options = options("http://127.0.0.1/hook?token=hush");
    let numbers = format!("{:?}", &SECRET[..4]);
    let shown = format!(
        "{options:?} {:?}",
        Webhook::new(options.clone(), clock()).unwrap()
    );
    assert!(
        !shown.contains("0123456789") && !shown.contains(numbers.trim_matches(['[', ']'])),
        "{shown}"
    );
    assert!(!shown.contains("hush"), "{shown}");
}
