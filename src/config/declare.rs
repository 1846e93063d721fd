//! How keys are declared: the types of the list, and the macro that makes structs of it.

use serde::Serialize;
use toml::Value;

use super::allowed::Allowed;

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name within the section.
    pub name: &'static str,
    /// True when the file must hold it; its default is then an example only.
    pub is_required: bool,
    /// The default, or the example; `None` when it is not set by default.
    pub default: fn() -> Option<Value>,
    /// What it may hold.
    pub allowed: Allowed,
    /// Unit of its number; empty for none.
    pub unit: &'static str,
    /// What it means.
    pub doc: &'static str,
}

impl Key {
    /// The value when neither file nor environment sets it.
    #[must_use]
    pub fn default_value(&self) -> Option<Value> {
        let can_be_empty = matches!(self.allowed, Allowed::Address | Allowed::PathOrNone);
        (self.default)().or_else(|| can_be_empty.then(|| Value::String(String::new())))
    }
}

/// How a section stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `[name]`; has its defaults when it is left out.
    Table,
    /// `[name]`; when it is left out there is none.
    OptionalTable,
    /// `[[name]]`.
    List,
    /// `[[name]]`, at least one.
    RequiredList,
}

/// A section: a table, or a list of tables.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// Its name, with that of the section that it is part of: `venue.exchange`.
    pub name: &'static str,
    /// How it stands in the file.
    pub shape: Shape,
    /// What it is about.
    pub doc: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

impl Section {
    /// True for `[[name]]`.
    #[must_use]
    pub fn is_list(&self) -> bool {
        matches!(self.shape, Shape::List | Shape::RequiredList)
    }

    /// `[name]` or `[[name]]`.
    #[must_use]
    pub fn header(&self) -> String {
        if self.is_list() { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }

    /// The key of this name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// One section: `name: type = [default] in allowed, "unit";`, with `[required example]` where there is no default;
/// `parts` are sections within it, which may be left out.
macro_rules! section {
    (@is_required required $($example:tt)+) => { true };
    (@is_required $($default:tt)+) => { false };
    (@default required $($example:tt)+) => { $($example)+ };
    (@default $($default:tt)+) => { $($default)+ };
    (
        $(#[doc = $section_doc:literal])+
        $Name:ident $section:literal $shape:expr => {
            $(
                $(#[doc = $doc:literal])+
                $(#[serde($($serde:tt)+)])?
                $field:ident: $type:ty = [$($default:tt)+] in $allowed:expr $(, $unit:literal)?;
            )+
        }
        $(parts { $($(#[doc = $part_doc:literal])+ $part:ident: $Part:ty;)+ })?
    ) => {
        $(#[doc = $section_doc])+
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $Name {
            $($(#[doc = $doc])+ $(#[serde($($serde)+)])? pub $field: $type,)+
            $($($(#[doc = $part_doc])+ #[serde(default)] pub $part: Option<$Part>,)+)?
        }

        impl $Name {
            /// The section as documented and checked.
            pub const SECTION: Section = Section {
                name: $section,
                shape: $shape,
                doc: concat!($($section_doc),+),
                keys: &[$(Key {
                    name: stringify!($field),
                    is_required: section!(@is_required $($default)+),
                    default: || to_value::<$type>(&section!(@default $($default)+)),
                    allowed: $allowed,
                    unit: concat!($($unit)?),
                    doc: concat!($($doc),+),
                },)+],
            };
        }
    };
}
pub(super) use section;

/// A default as TOML; `None` for an option that is not set.
pub(super) fn to_value<T: Serialize>(default: &T) -> Option<Value> {
    Value::try_from(default).ok()
}

/// An option that is written as text, empty for none.
pub(super) mod empty_is_none {
    use serde::de::{DeserializeOwned, IntoDeserializer};
    use serde::{Deserialize, Deserializer};

    pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Ok(None) } else { T::deserialize(text.into_deserializer()).map(Some) }
    }
}
