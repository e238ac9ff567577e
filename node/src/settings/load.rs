//! Where values come from: the default, the file, the environment, the flags, each over the one before.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use config::builder::DefaultState;
use config::{
    Config, ConfigBuilder, ConfigError, Environment, File, FileFormat, Source, Value as Found, ValueKind,
};

use super::problem::{Problem, Problems};
use super::table::{Bounds, allowed, within};
use super::value::{HttpUrl, Raw, Value};
use super::{Section, Settings};

/// Begins the name of every environment variable that is a setting: `MAILHORN__SMTP__LISTEN`.
const ENVIRONMENT_PREFIX: &str = "MAILHORN";
const SEPARATOR: &str = "__";

/// How alike two keys must be for one to be proposed instead of the other (1 is the same).
const ALIKE: f64 = 0.8;

/// What settings are made from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A TOML file; it must be there.
    pub file: Option<PathBuf>,
    /// Environment variables; those that aren't settings are passed over.
    pub environment: HashMap<String, String>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

impl Sources {
    /// The process's own environment, with what the command line says.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>, data_dir: Option<PathBuf>) -> Self {
        let text = |octets: std::ffi::OsString| octets.to_string_lossy().into_owned();
        let environment = std::env::vars_os()
            .map(|(key, value)| (text(key), text(value)))
            .collect();
        Self {
            file,
            environment,
            data_dir,
        }
    }

    /// Reads all sources and checks every value, then all of them together.
    ///
    /// # Errors
    ///
    /// All that is wrong.
    pub fn load(&self) -> Result<Settings, Problems> {
        let table = Settings::table();
        let mut reader = Reader::default();
        let merged = self.merged(&table, &mut reader.problems).unwrap_or_else(|error| {
            reader.problems.push(Problem::Source(error.to_string()));
            empty()
        });
        if !reader.problems.is_empty() {
            return Err(Problems(reader.problems));
        }
        reader.take(merged, &table);
        match Settings::read(&mut reader) {
            Some(settings) if reader.problems.is_empty() => settings.verify().map(|()| settings),
            _ => Err(Problems(reader.problems)),
        }
    }

    /// All sources in one tree. Names are checked before they are merged: a name that is a section in one source
    /// and a value in another would hide one of them.
    fn merged(&self, table: &[Section], problems: &mut Vec<Problem>) -> Result<Found, ConfigError> {
        let mut builder = Config::builder();
        for section in table {
            for entry in &section.entries {
                builder = builder.set_default(format!("{}.{}", section.name, entry.name), entry.default)?;
            }
        }
        if let Some(path) = &self.file {
            let file = read_file(path)?;
            check_names(&file, table, problems)?;
            builder = builder.add_source(file);
        }
        let environment = Environment::with_prefix(ENVIRONMENT_PREFIX)
            .prefix_separator(SEPARATOR)
            .separator(SEPARATOR)
            .source(Some(self.environment.clone()));
        check_names(&environment, table, problems)?;
        builder = builder.add_source(environment);
        builder = self.with_flags(builder)?;
        collected(&builder.build()?)
    }

    fn with_flags(
        &self,
        builder: ConfigBuilder<DefaultState>,
    ) -> Result<ConfigBuilder<DefaultState>, ConfigError> {
        let data_dir = self
            .data_dir
            .as_ref()
            .map(|path| path.to_string_lossy().into_owned());
        builder.set_override_option("node.data_dir", data_dir)
    }
}

fn read_file(path: &Path) -> Result<impl Source + Send + Sync + 'static, ConfigError> {
    // The crate's own file source looks for other endings when the file isn't there, and its message doesn't name it.
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Message(format!("{}: can't be read: {error}", path.display())))?;
    let source = File::from_str(&text, FileFormat::Toml);
    source
        .collect()
        .map_err(|error| ConfigError::Message(format!("{}: not a TOML file: {error}", path.display())))?;
    Ok(Named {
        source,
        path: path.display().to_string(),
    })
}

/// A source whose values know the file that they come from.
#[derive(Debug, Clone)]
struct Named<S> {
    source: S,
    path: String,
}

impl<S: Source + Clone + Send + Sync + 'static> Source for Named<S> {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<config::Map<String, Found>, ConfigError> {
        let values = self.source.collect()?;
        Ok(values
            .into_iter()
            .map(|(key, value)| (key, with_origin(value, &self.path)))
            .collect())
    }
}

fn with_origin(value: Found, origin: &String) -> Found {
    let kind = match value.kind {
        ValueKind::Table(table) => ValueKind::Table(
            table
                .into_iter()
                .map(|(key, value)| (key, with_origin(value, origin)))
                .collect(),
        ),
        other => other,
    };
    Found::new(Some(origin), kind)
}

fn empty() -> Found {
    Found::from(HashMap::<String, Found>::new())
}

fn collected(source: &dyn Source) -> Result<Found, ConfigError> {
    let mut tree = empty();
    source.collect_to(&mut tree)?;
    Ok(tree)
}

/// Every name that a source has must be in the table.
fn check_names(
    source: &dyn Source,
    table: &[Section],
    problems: &mut Vec<Problem>,
) -> Result<(), ConfigError> {
    let ValueKind::Table(found) = collected(source)?.kind else {
        return Ok(());
    };
    for (name, value) in found.into_iter().collect::<BTreeMap<_, _>>() {
        let section = table.iter().find(|section| section.name == name);
        match (section, value.kind.clone()) {
            (Some(section), ValueKind::Table(values)) => {
                for (key, value) in values.into_iter().collect::<BTreeMap<_, _>>() {
                    if section.entries.iter().all(|entry| entry.name != key) {
                        problems.push(unknown(format!("{name}.{key}"), &value, Some(section), table));
                    }
                }
            }
            (None, ValueKind::Table(values)) if !values.is_empty() => {
                for (key, value) in values.into_iter().collect::<BTreeMap<_, _>>() {
                    problems.push(unknown(format!("{name}.{key}"), &value, None, table));
                }
            }
            _ => problems.push(unknown(name, &value, section, table)),
        }
    }
    Ok(())
}

fn unknown(key: String, value: &Found, section: Option<&Section>, table: &[Section]) -> Problem {
    let keys = table.iter().flat_map(|section| {
        section
            .entries
            .iter()
            .map(move |entry| format!("{}.{}", section.name, entry.name))
    });
    let meant = keys
        .map(|known| (strsim::jaro_winkler(&known, &key), known))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known);
    let allowed = match section {
        Some(section) => {
            let names: Vec<&str> = section.entries.iter().map(|entry| entry.name).collect();
            format!("in [{}]: {}", section.name, names.join(", "))
        }
        None => {
            let names: Vec<String> = table
                .iter()
                .map(|section| format!("[{}]", section.name))
                .collect();
            format!("the sections {}", names.join(", "))
        }
    };
    let origin = origin(&key, value.origin());
    Problem::UnknownKey {
        key,
        // What it was meant for is not known: it may have been an address with a password.
        value: shown::<HttpUrl>(value),
        origin,
        meant,
        allowed,
    }
}

fn shown<T: Value>(value: &Found) -> String {
    raw(value).map_or_else(|| "a table".to_owned(), |raw| T::shown(&raw))
}

/// Who set a value, in words.
fn origin(key: &str, origin: Option<&str>) -> String {
    match origin {
        Some("the environment") => {
            let variable = key.to_uppercase().replace('.', SEPARATOR);
            format!("from the environment: {ENVIRONMENT_PREFIX}{SEPARATOR}{variable}")
        }
        Some(file) => format!("from {file}"),
        None => "from the command line".to_owned(),
    }
}

/// `None` for what no setting can be: tables, and arrays of them.
fn raw(value: &Found) -> Option<Raw> {
    match &value.kind {
        ValueKind::Array(items) => {
            let texts = items.iter().map(|item| match raw(item) {
                Some(Raw::One(text)) => Some(text),
                _ => None,
            });
            texts.collect::<Option<Vec<_>>>().map(Raw::Many)
        }
        ValueKind::Table(_) | ValueKind::Nil => None,
        scalar => Some(Raw::One(scalar.to_string())),
    }
}

/// Takes values out of the merged sources, and notes what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Reader {
    values: HashMap<String, Found>,
    problems: Vec<Problem>,
}

impl Reader {
    fn take(&mut self, merged: Found, table: &[Section]) {
        let ValueKind::Table(mut sections) = merged.kind else {
            return;
        };
        for section in table {
            if let Some(ValueKind::Table(values)) = sections.remove(section.name).map(|value| value.kind) {
                let named = values
                    .into_iter()
                    .map(|(name, value)| (format!("{}.{name}", section.name), value));
                self.values.extend(named);
            }
        }
    }

    pub(super) fn read<T: Value>(&mut self, section: &str, name: &str, bounds: Bounds) -> Option<T> {
        let key = format!("{section}.{name}");
        let found = self.values.remove(&key).unwrap_or_else(empty);
        let value = raw(&found)
            .and_then(|raw| T::read(&raw))
            .filter(|value| within(value, bounds));
        if value.is_none() {
            let origin = origin(&key, found.origin());
            self.problems.push(Problem::BadValue {
                key,
                value: shown::<T>(&found),
                origin,
                meant: raw(&found).and_then(|raw| T::meant(&raw)),
                allowed: allowed::<T>(bounds),
            });
        }
        value
    }
}
