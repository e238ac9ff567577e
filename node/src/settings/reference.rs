//! The reference of all settings and the commented file, made from the table.

use super::Settings;

/// As wide as a line of a comment may be.
const WIDTH: usize = 100;

/// The reference in Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from(
        "# Settings\n\n\
         Made from the types in `node/src/settings`: `MAILHORN_WRITE_DOCS=1 cargo test -p mailhorn` writes it.\n\n\
         A setting comes from the command line, else from the environment, else from the file that `--config` names\n\
         (TOML; [mailhorn.toml](mailhorn.toml) has every setting), else it is the default. In the environment\n\
         `smtp.listen` is `MAILHORN__SMTP__LISTEN`, and a list is separated by commas. An unknown setting or a value\n\
         that isn't allowed stops the start.\n\n\
         Durations are in `ms`, `s`, `m`, `h` or `d` (`\"30s\"`), sizes in octets or `KiB`, `MiB`, `GiB` (`\"50MiB\"`).\n\
         Zero never means unlimited; where it is allowed, its meaning is stated.\n",
    );
    for section in Settings::table() {
        text.push_str(&format!(
            "\n## `[{}]`\n\n{}\n",
            section.name,
            one_line(section.about)
        ));
        for entry in section.entries {
            text.push_str(&format!(
                "\n### `{}.{}`\n\n{}\n\n- Default: `{}`\n- Allowed: {}\n",
                section.name,
                entry.name,
                one_line(entry.doc),
                entry.default_toml,
                entry.allowed,
            ));
        }
    }
    text
}

/// A file with every setting, commented out.
#[must_use]
pub fn toml() -> String {
    let mut text = String::from(
        "# Every setting of Mailhorn with its default. Take the \"#\" away in front of what you change.\n\
         # In the environment smtp.listen is MAILHORN__SMTP__LISTEN; a list is separated by commas.\n",
    );
    for section in Settings::table() {
        text.push('\n');
        write_comment(&mut text, &one_line(section.about));
        text.push_str(&format!("[{}]\n", section.name));
        for entry in section.entries {
            text.push('\n');
            write_comment(&mut text, &one_line(entry.doc));
            write_comment(&mut text, &format!("Allowed: {}.", entry.allowed));
            text.push_str(&format!("#{} = {}\n", entry.name, entry.default_toml));
        }
    }
    text
}

/// A doc comment's lines as one.
fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn write_comment(text: &mut String, comment: &str) {
    let mut line = String::from("#");
    for word in comment.split(' ') {
        if line.chars().count().saturating_add(word.chars().count()) >= WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}
