//! Server-sent events (HTML living standard §9.2): how the live feed looks on the wire, for the one who writes it and the
//! one who reads it.

/// The media type.
pub const MEDIA_TYPE: &str = "text/event-stream";
/// The type of the message that says: events may have been missed, read anew what you need.
pub const RESET: &str = "reset";
/// What is sent when there is nothing to say, so that each side knows that the other is there. A reader skips it.
pub const KEEP_ALIVE: &str = ":\n\n";

/// Tells a reader where it stands, without a message.
#[must_use]
pub fn standing(id: impl std::fmt::Display) -> String {
    format!("id: {id}\n\n")
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What to name in `Last-Event-ID` to go on behind it.
    pub id: Option<String>,
    /// Its type.
    pub event: String,
    /// What it says.
    pub data: String,
}

impl Message {
    /// As it is sent. Neither the id nor the type has a line end in it; what is said may.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Some(id) = &self.id {
            text.push_str(&format!("id: {id}\n"));
        }
        text.push_str(&format!("event: {}\n", self.event));
        for line in self.data.lines() {
            text.push_str(&format!("data: {line}\n"));
        }
        text.push('\n');
        text
    }
}

/// Puts messages together from lines.
#[derive(Debug, Default)]
pub struct Parser {
    id: Option<String>,
    event: String,
    data: Vec<String>,
    standing: Option<String>,
}

impl Parser {
    /// Where the reader stands: the last id that came, with a message or without.
    #[must_use]
    pub fn standing(&self) -> Option<&str> {
        self.standing.as_deref()
    }

    /// Takes a line, without its end. Gives the message that it completes. One without data is none.
    pub fn line(&mut self, line: &str) -> Option<Message> {
        if line.is_empty() {
            let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
            let id = self.id.take();
            if id.is_some() {
                self.standing.clone_from(&id);
            }
            return (!data.is_empty()).then(|| Message {
                id,
                event,
                data: data.join("\n"),
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.event),
            "data" => self.data.push(value.to_owned()),
            // A comment has an empty name; other fields are for other readers.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<Message> {
        let mut parser = Parser::default();
        text.lines().filter_map(|line| parser.line(line)).collect()
    }

    #[test]
    fn what_was_written_is_read_and_comments_are_nothing() {
        let messages = [
            Message {
                id: Some("7".into()),
                event: "Added".into(),
                data: "{\"a\": 1}".into(),
            },
            Message {
                id: None,
                event: RESET.into(),
                data: "one\ntwo".into(),
            },
        ];
        let text = messages.each_ref().map(Message::encode).join(KEEP_ALIVE);
        assert_eq!(parsed(&text), messages);
    }

    #[test]
    fn lines_are_read_as_the_standard_has_them() {
        let message = |event: &str, data: &str| Message {
            id: None,
            event: event.into(),
            data: data.into(),
        };
        assert_eq!(parsed("data:a\ndata\nretry: 5\n\n"), [message("", "a\n")]);
        assert_eq!(
            parsed("event: x\n\ndata:  b\n\n"),
            [message("", " b")],
            "no data, no message"
        );
        assert_eq!(parsed("data: never ended\n"), []);
    }

    #[test]
    fn a_reader_knows_where_it_stands_by_the_last_id_that_was_complete() {
        let mut parser = Parser::default();
        let mut read = |text: &str| {
            text.lines().for_each(|line| drop(parser.line(line)));
            parser.standing().map(str::to_owned)
        };
        assert_eq!(read(":\n\n"), None);
        assert_eq!(read(&standing(4)).as_deref(), Some("4"));
        assert_eq!(read("id: 5\ndata: x").as_deref(), Some("4"), "not yet complete");
        assert_eq!(read("\n").as_deref(), Some("5"));
        assert_eq!(
            read("data: y\n\n").as_deref(),
            Some("5"),
            "without an id it stays"
        );
    }
}
