//! `mailhorn events tail`: the live feed on the terminal.

use std::io::{BufRead, BufReader};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::access::running_node;
use crate::cli::FeedOf;
use crate::client::Client;
use crate::exit::Exit;
use crate::output::{complain, is_read};
use crate::settings::Settings;
use crate::sse::{Message, Parser, RESET};
use crate::timestamp;

/// How long it waits before it connects again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// How following came to an end.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// Nobody reads what is shown.
    ReaderGone,
    /// The node closed the connection, or is gone.
    Disconnected,
}

pub(super) fn tail(of: &FeedOf, json: bool, settings: &Settings) -> anyhow::Result<Exit> {
    // What is wrong with the first try is wrong with the command; later it is the node that comes and goes.
    let node = running_node(settings)?;
    let mut last = None;
    let mut ended = follow(&node, of, json, &mut last)?;
    let mut told = String::new();
    while ended == Ended::Disconnected {
        thread::sleep(RECONNECT_PAUSE);
        let again = running_node(settings).and_then(|node| follow(&node, of, json, &mut last));
        match again {
            Ok(how) => {
                ended = how;
                told.clear();
            }
            Err(error) => {
                let error = format!("mailhorn: {error:#}; trying again");
                if error != told {
                    complain(&error);
                    told = error;
                }
            }
        }
    }
    Ok(Exit::Done)
}

/// Shows what comes until it ends. `last` is where to go on then.
fn follow(node: &Client, of: &FeedOf, json: bool, last: &mut Option<String>) -> anyhow::Result<Ended> {
    let user = of.user.iter().map(|user| ("user", user.as_str()));
    let mailbox = of.mailbox.iter().map(|mailbox| ("mailbox", mailbox.as_str()));
    let query: Vec<(&str, &str)> = user.chain(mailbox).collect();
    let response = node.follow(&["events"], &query, last.as_deref())?;
    let whose = query.first().map_or("", |(_, whose)| *whose);
    complain(format!("mailhorn: following {whose}; Ctrl-C ends it"));
    let mut parser = Parser::default();
    for line in BufReader::new(response.into_body().into_reader()).lines() {
        let Ok(line) = line else { break };
        let message = parser.line(&line);
        if let Some(standing) = parser.standing() {
            *last = Some(standing.to_owned());
        }
        let Some(message) = message else { continue };
        if message.event == RESET {
            complain("mailhorn: events were missed: what happened before can no longer be shown");
        } else if !is_read(&shown(&message, json))? {
            return Ok(Ended::ReaderGone);
        }
    }
    Ok(Ended::Disconnected)
}

/// An event as a line: time, user, kind, and what it is about.
fn shown(message: &Message, json: bool) -> String {
    let event: Option<Value> = serde_json::from_str(&message.data).ok();
    let Some(event) = event.filter(|_| !json) else {
        return message.data.clone();
    };
    let time = timestamp::rfc3339(event["stamp"].as_u64().unwrap_or_default());
    let user = event["user"].as_str().unwrap_or_default();
    let line = format!("{time}\t{user}\t{}\t{}", message.event, about(&event));
    line.trim_end().to_owned()
}

/// The names of what an event is about.
fn about(event: &Value) -> String {
    let messages = event["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if !messages.is_empty() {
        let ids = messages
            .iter()
            .filter_map(|message| message["message"].as_str().or_else(|| message.as_str()));
        return ids.collect::<Vec<_>>().join(" ");
    }
    let part = |field: &str| event[field].as_str().map(str::to_owned);
    part("name")
        .or_else(|| part("to"))
        .or_else(|| part("domain"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event: &str, data: &str) -> Message {
        Message {
            id: None,
            event: event.to_owned(),
            data: data.to_owned(),
        }
    }

    #[test]
    fn an_event_is_a_line_for_people_or_the_json_as_it_came() {
        let data = r#"{"stamp":1767225600000001,"user":"ann@example.org","messages":[{"message":"m-1"},{"message":"m-2"}]}"#;
        let added = message("Added", data);
        assert_eq!(
            shown(&added, false),
            "2026-01-01T00:00:00Z\tann@example.org\tAdded\tm-1 m-2"
        );
        assert_eq!(shown(&added, true), data);
        let data = r#"{"stamp":0,"user":"ann@example.org","name":"INBOX"}"#;
        let made = message("MailboxAdded", data);
        assert_eq!(
            shown(&made, false),
            "1970-01-01T00:00:00Z\tann@example.org\tMailboxAdded\tINBOX"
        );
        assert_eq!(shown(&message("Later", "no json"), false), "no json");
    }
}
