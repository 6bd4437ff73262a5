//! The part of `config.toml` that names the kinds of Python plugins which the application has, for a daemon that no code registers
//! them with.

use std::collections::BTreeMap;

use ringfence_api::is_tool_name;
use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::manifest::is_plugin_type;
use crate::runtime::PluginType;

const PLUGIN_TYPE: [&str; 3] = ["base_class", "path", "tools"];
/// What a type cannot be without.
const NEEDED: [&str; 2] = ["base_class", "path"];
/// More kinds than any application has.
const TYPES_MAX: usize = 64;
/// The longest name of a class, in bytes.
const CLASS_MAX_BYTES: usize = 256;
/// Methods that a type may promise.
const TOOLS_MAX: usize = 64;

impl Reader<'_> {
    pub(super) fn plugin_types(&mut self, table: &DeTable<'_>, types: &mut BTreeMap<String, PluginType>) {
        for (key, value) in table {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            if !is_plugin_type(name) {
                self.mistake(
                    at,
                    "the name of a plugin type has letters, digits, '-', '_' and '.', at most 128",
                );
                continue;
            }
            if types.len() >= TYPES_MAX {
                return self.mistake(at, &format!("at most {TYPES_MAX} plugin types can be named"));
            }
            match value.get_ref() {
                DeValue::Table(table) => {
                    let kind = self.plugin_type(at, table);
                    types.extend(kind.map(|kind| (name.to_owned(), kind)));
                }
                _ => {
                    self.mistake(value.span().start, &format!("this is a table: write [plugin_types.{name}]"))
                }
            }
        }
    }

    fn plugin_type(&mut self, at: usize, table: &DeTable<'_>) -> Option<PluginType> {
        let (mut base_class, mut path, mut tools) = (None, None, Vec::new());
        for (key, value) in table {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("base_class", DeValue::String(text)) if is_class(text) => {
                    base_class = Some(text.to_string())
                }
                ("base_class", _) => {
                    let message = "expected the dotted name of a class, such as \"app.plugins.Filter\"";
                    self.mistake(value.span().start, message);
                }
                ("path", _) => path = self.absolute(value),
                ("tools", DeValue::Array(items)) if items.len() <= TOOLS_MAX => tools = self.tools(items),
                ("tools", _) => {
                    let message =
                        format!("expected a list of at most {TOOLS_MAX} methods, such as [\"process\"]");
                    self.mistake(value.span().start, &message);
                }
                (name, _) => self.unknown(key.span().start, name, &PLUGIN_TYPE),
            }
        }
        for field in NEEDED {
            if !table.keys().any(|key| key.get_ref() == field) {
                self.mistake(at, &format!("'{field}' is missing: a plugin type needs its class and the directory to import it from"));
            }
        }
        let kind = PluginType::new(base_class?).path(path?);
        Some(tools.into_iter().fold(kind, PluginType::tool))
    }

    fn tools(&mut self, items: &[toml::Spanned<DeValue<'_>>]) -> Vec<String> {
        let mut tools = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) if is_tool_name(text) => tools.push(text.to_string()),
                _ => self.mistake(item.span().start, "the name of a tool has A-Z a-z 0-9 _ . -, at most 128"),
            }
        }
        tools
    }
}

/// A module and a class in it, as Python writes them.
fn is_class(text: &str) -> bool {
    let is_name = |part: &str| {
        part.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && part.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    text.len() <= CLASS_MAX_BYTES && text.contains('.') && text.split('.').all(is_name)
}

#[cfg(test)]
mod tests {
    use crate::Config;
    use crate::runtime::PluginType;

    #[test]
    fn a_type_has_its_class_and_its_directory_and_every_mistake_has_its_place() {
        let text = "[plugin_types.filter]\nbase_class = \"app.plugins.Filter\"\npath = \"/srv/app\"\ntools = [\"process\"]\n";
        let config = Config::parse(text).unwrap();
        let filter = PluginType::new("app.plugins.Filter").path("/srv/app").tool("process");
        assert_eq!(config.plugin_types, [("filter".to_owned(), filter)].into());
        for (text, mistake) in [
            ("plugin_types = 1\n", "1:1: 'plugin_types' is a table"),
            (
                "[plugin_types]\nfilter = \"app.Filter\"\n",
                "2:10: this is a table: write [plugin_types.filter]",
            ),
            ("[plugin_types.\"a b\"]\npath = \"/a\"\n", "1:15: the name of a plugin type"),
            ("[plugin_types.a]\npath = \"/a\"\n", "1:15: 'base_class' is missing"),
            ("[plugin_types.a]\nbase_class = \"a.B\"\n", "1:15: 'path' is missing"),
            ("[plugin_types.a]\nbase_class = \"a.B\"\npath = \"b\"\n", "3:8: expected an absolute path"),
            ("[plugin_types.a]\nbase_class = \"B\"\npath = \"/b\"\n", "2:14: expected the dotted name"),
            ("[plugin_types.a]\nbase_class = \"a.B()\"\npath = \"/b\"\n", "2:14: expected the dotted name"),
            ("[plugin_types.a]\ntools = \"a\"\n", "2:9: expected a list of at most 64 methods"),
            ("[plugin_types.a]\ntools = [\"a b\"]\n", "2:10: the name of a tool"),
            ("[plugin_types.a]\nbase = \"a.B\"\n", "2:1: unknown field 'base'"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.message().contains(mistake), "{text}: {error}");
        }
    }
}
