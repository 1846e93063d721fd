//! Why a configuration was not accepted, for people and as JSON.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

/// The stable codes of refused configurations.
macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $Name:ident = $code:literal,)+) => {
        /// What kind of mistake it is; stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $($(#[doc = $doc])+ $Name,)+ }

        impl Code {
            /// Every code and what it means.
            pub const TABLE: &'static [(&'static str, &'static str)] = &[$(($code, concat!($($doc),+)),)+];

            /// The code as it is written.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$Name => $code,)+ }
            }
        }
    };
}

codes! {
    /// The file cannot be read.
    Unreadable = "unreadable",
    /// The text is no TOML.
    Syntax = "syntax",
    /// A key, section or variable does not exist.
    UnknownKey = "unknown_key",
    /// A key that has no default is not there.
    MissingKey = "missing_key",
    /// A value has another type than the key.
    WrongType = "wrong_type",
    /// A value has the right type and is not allowed.
    NotAllowed = "not_allowed",
    /// Two values do not agree with each other.
    Disagreement = "disagreement",
    /// The file of a session's key is missing, readable by others, or holds no key.
    Secret = "secret",
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the file, from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// Why a configuration was not accepted; the daemon refuses to start with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(Box<Refusal>);

/// The parts of a `ConfigError`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of mistake it is.
    pub code: Code,
    /// The file.
    pub file: PathBuf,
    /// Where in it, or in the environment; none: what is missing stands nowhere.
    pub place: Option<Place>,
    /// The key, `core.id` or `instruments[0].symbol` (lists count from 0); none: the text as a whole.
    pub key: Option<String>,
    /// Its value as TOML writes it.
    pub value: Option<String>,
    /// What is wrong.
    pub problem: String,
    /// What is allowed.
    pub allowed: String,
}

impl std::error::Error for ConfigError {}

impl From<Refusal> for ConfigError {
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(refusal))
    }
}

impl std::ops::Deref for ConfigError {
    type Target = Refusal;

    fn deref(&self) -> &Refusal {
        &self.0
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        match &self.place {
            Some(Place::Line(line)) => write!(f, ":{line}: ")?,
            Some(Place::Variable(name)) => write!(f, ": {name}: ")?,
            None => f.write_str(": ")?,
        }
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, "{key} = {value}: ")?,
            (Some(name), None) | (None, Some(name)) => write!(f, "{name}: ")?,
            (None, None) => {}
        }
        write!(f, "{}; allowed: {}", self.problem, self.allowed)
    }
}

impl ConfigError {
    /// The error as one JSON object; what it does not have is `null`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (line, variable) = match &self.place {
            Some(Place::Line(line)) => (Some(line), None),
            Some(Place::Variable(name)) => (None, Some(name)),
            None => (None, None),
        };
        json!({
            "code": self.code.name(),
            "file": self.file.to_string_lossy(),
            "line": line,
            "variable": variable,
            "key": self.key,
            "value": self.value,
            "allowed": self.allowed,
            "message": self.to_string(),
        })
    }
}
