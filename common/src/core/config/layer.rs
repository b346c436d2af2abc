//! Where values come from: files first, then the environment, which wins.

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};

use crate::core::config::fault::{Fault, NOWHERE};

/// The texts of a configuration, in the order in which they apply.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    figment: Figment,
    main: Option<String>,
    faults: Vec<Fault>,
}

impl Layers {
    /// Nothing yet: every key has its default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file. Its values replace earlier ones, and its lists are appended to earlier ones.
    #[must_use]
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.main.get_or_insert_with(|| name.to_owned());
        match <Toml as Format>::from_str::<Dict>(text) {
            Ok(dict) => {
                self.figment = self.figment.admerge(Layer {
                    name: name.to_owned(),
                    dict,
                })
            }
            Err(error) => {
                // The error of the parser quotes the line, which may hold a secret: only its place and kind are told.
                let line = error
                    .span()
                    .map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
                self.faults.push(Fault {
                    source: name.to_owned(),
                    key: String::new(),
                    what: format!("line {line} is not TOML: {}", error.message().replace('\n', ", ")),
                    fix: "mend the line; nothing in this file was read".into(),
                });
            }
        }
        self
    }

    /// Notes a file that could not be read.
    #[must_use]
    pub fn unreadable(mut self, name: &str, what: &str, fix: &str) -> Self {
        self.main.get_or_insert_with(|| name.to_owned());
        let (source, key) = (name.to_owned(), String::new());
        self.faults.push(Fault {
            source,
            key,
            what: what.to_owned(),
            fix: fix.to_owned(),
        });
        self
    }

    /// Adds every variable `CUSAX__SECTION__KEY`; what does not begin so is left alone.
    #[must_use]
    pub fn environment(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut ours: Vec<_> = variables
            .into_iter()
            .filter(|(name, _)| name.starts_with(ENVIRONMENT))
            .collect();
        ours.sort();
        for (name, text) in ours {
            let path = name[ENVIRONMENT.len()..].to_ascii_lowercase();
            let mut value = Value::from(text);
            for part in path.split("__").collect::<Vec<_>>().into_iter().rev() {
                value = Value::from(Dict::from([(part.to_owned(), value)]));
            }
            if let Some(dict) = value.into_dict() {
                self.figment = self.figment.merge(Layer { name, dict });
            }
        }
        self
    }

    /// The merged values, the figment that knows where each came from, the main file, and the faults so far.
    pub(super) fn into_parts(self) -> (Value, Figment, String, Vec<Fault>) {
        let values = self
            .figment
            .data()
            .ok()
            .and_then(|mut profiles| profiles.remove(&Profile::Default));
        let main = self.main.unwrap_or_else(|| NOWHERE.to_owned());
        (Value::from(values.unwrap_or_default()), self.figment, main, self.faults)
    }
}

/// How the environment variables that concern us begin.
pub const ENVIRONMENT: &str = "CUSAX__";

/// One file or one variable.
#[derive(Clone, Debug)]
struct Layer {
    name: String,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}
