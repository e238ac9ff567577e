//! SMTP's commands, paths, addresses and domains: what is taken is written so that it is taken again, as the same.

use mailhorn_smtp::{Address, Command, Domain, ForwardPath, ReversePath, limits};

pub(crate) fn target(input: &[u8]) {
    command(input, false);
    command(input, true);
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(domain) = Domain::parse(text) {
        let written = domain.to_string();
        assert_eq!(Domain::parse(&written), Ok(domain), "{written}");
    }
    if let Ok(address) = Address::parse(text) {
        whole_line(&address.to_string());
        same_address(&address);
    }
    if let Ok(path) = ReversePath::parse(text) {
        whole_line(path.as_str());
        assert_eq!(ReversePath::parse(path.as_str()).as_ref(), Ok(&path));
    }
    if let Ok(ForwardPath::Mailbox(address)) = ForwardPath::parse(text) {
        same_address(&address);
    }
}

fn same_address(address: &Address) {
    let written = address.to_string();
    assert!(written.len() <= limits::ADDRESS_OCTETS_MAX, "{written}");
    assert_eq!(Address::parse(&written).as_ref(), Ok(address), "{written}");
    let taken_apart = Address::new(address.local_part(), address.domain().clone());
    assert_eq!(taken_apart.as_ref(), Ok(address), "{written}");
    let path = ForwardPath::parse(&written);
    assert_eq!(path, Ok(ForwardPath::Mailbox(address.clone())), "{written}");
}

/// What goes into a header field or a reply has no line end and no other control character in it.
fn whole_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}

/// `smtputf8`: whether the transaction is for addresses in UTF-8 (RFC 6531 §3.4).
fn command(line: &[u8], smtputf8: bool) {
    let parsed = Command::parse(line, smtputf8);
    assert_eq!(
        Command::parse(&[line, b" "].concat(), smtputf8),
        parsed,
        "white space at the end is overlooked"
    );
    let again = match &parsed {
        Ok(Command::Mail(path, _)) if path.as_str().is_ascii() => format!("MAIL FROM:{path}"),
        Ok(Command::Mail(path, _)) => format!("MAIL FROM:{path} SMTPUTF8"),
        Ok(Command::Rcpt(ForwardPath::Mailbox(address))) => format!("rcpt to:<{address}>"),
        Ok(Command::Ehlo(name)) => format!("ehlo {}", name.as_str()),
        _ => return,
    };
    whole_line(&again);
    match (parsed, Command::parse(again.as_bytes(), smtputf8)) {
        (Ok(Command::Mail(path, _)), Ok(Command::Mail(same, _))) => assert_eq!(path, same),
        (parsed, same) => assert_eq!(parsed, same, "{again}"),
    }
}
