//! One table for all there is to know of a setting: its key, kind, default, range and meaning.
//!
//! [`section!`] makes of each part of the table a struct with documented fields, the reader that fills it, and the
//! [`Entry`]s from which error messages, `config default` and the reference are made. So none of them can tell
//! anything else than the others.

use super::value::Value;

/// What is known of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name in its section.
    pub name: &'static str,
    /// The default, as it could stand in the environment.
    pub default: &'static str,
    /// The default, as it stands in a file.
    pub default_toml: String,
    /// What may stand there.
    pub allowed: String,
    /// What it does: unit, default, effect.
    pub doc: &'static str,
}

/// The smallest and the largest value allowed, as text.
pub(super) type Bounds = Option<(&'static str, &'static str)>;

impl Entry {
    pub(super) fn new<T: Value>(
        name: &'static str,
        default: &'static str,
        bounds: Bounds,
        doc: &'static str,
    ) -> Self {
        let default_toml = T::parse(default).map(|value| value.to_toml()).unwrap_or_default();
        Self {
            name,
            default,
            default_toml,
            allowed: allowed::<T>(bounds),
            doc,
        }
    }
}

pub(super) fn allowed<T: Value>(bounds: Bounds) -> String {
    let kind = T::allowed();
    match bounds {
        None => kind,
        Some((low, high)) => format!("{kind}, from {low} to {high}"),
    }
}

pub(super) fn within<T: Value>(value: &T, bounds: Bounds) -> bool {
    let Some((low, high)) = bounds else { return true };
    T::parse(low).is_some_and(|low| *value >= low) && T::parse(high).is_some_and(|high| *value <= high)
}

/// Makes a section's struct. A field reads `name: Kind = "default", "lowest" to "highest";` with its doc comment
/// above; the range may be left out.
macro_rules! section {
    ($(#[doc = $about:literal])+ $struct:ident {
        $($(#[doc = $doc:literal])+ $field:ident: $kind:ty = $default:literal $(, $low:literal to $high:literal)?;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $struct {
            $($(#[doc = $doc])+ #[doc = concat!("\nDefault: `", $default, "`.")] pub $field: $kind,)+
        }

        impl $struct {
            pub(super) const ABOUT: &'static str = concat!($($about, "\n"),+);

            pub(super) fn entries() -> Vec<$crate::settings::table::Entry> {
                vec![$($crate::settings::table::Entry::new::<$kind>(
                    stringify!($field),
                    $default,
                    $crate::settings::table::bounds!($($low, $high)?),
                    concat!($($doc, "\n"),+),
                )),+]
            }

            /// `None` when at least one setting is not as it should be; the reader knows which.
            pub(super) fn read(reader: &mut $crate::settings::load::Reader, section: &'static str) -> Option<Self> {
                $(let $field = reader.read::<$kind>(
                    section,
                    stringify!($field),
                    $crate::settings::table::bounds!($($low, $high)?),
                );)+
                Some(Self { $($field: $field?),+ })
            }

            pub(super) fn to_toml(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($field), $crate::settings::value::Value::to_toml(&self.$field))),+]
            }
        }
    };
}

macro_rules! bounds {
    () => {
        None
    };
    ($low:literal, $high:literal) => {
        Some(($low, $high))
    };
}

/// Makes [`Settings`](super::Settings) of its sections.
macro_rules! settings {
    ($($(#[$doc:meta])+ $section:ident: $struct:ident,)+) => {
        /// All settings, each checked by itself; see [`Settings::verify`] for what they must be together.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Settings {
            $($(#[$doc])+ pub $section: $struct,)+
        }

        impl Settings {
            /// What there is to set, in the order of the reference.
            #[must_use]
            pub fn table() -> Vec<Section> {
                vec![$(Section {
                    name: stringify!($section),
                    about: $struct::ABOUT,
                    entries: $struct::entries(),
                }),+]
            }

            fn read(reader: &mut $crate::settings::load::Reader) -> Option<Self> {
                $(let $section = $struct::read(reader, stringify!($section));)+
                Some(Self { $($section: $section?),+ })
            }

            /// Every setting in force, as it would stand in a file.
            #[must_use]
            pub fn to_toml(&self) -> String {
                let mut text = String::new();
                $(write_section(&mut text, stringify!($section), &self.$section.to_toml());)+
                text
            }
        }
    };
}

pub(super) use {bounds, section, settings};
