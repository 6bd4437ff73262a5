//! The part of `config.toml` that offers databases to plugins.

use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::database::{DatabaseOffer, is_database_name};
use crate::units;

const DATABASE: [&str; 4] = ["path", "read_only", "tables", "time_limit"];
/// Databases that can be offered at most.
const DATABASES_MAX: usize = 64;
/// A statement must not keep an application waiting for longer than anybody waits for it.
const TIME_LIMIT_MAX: Duration = Duration::from_secs(60);

impl Reader<'_> {
    pub(super) fn databases(&mut self, table: &DeTable<'_>, databases: &mut Vec<(String, DatabaseOffer)>) {
        for (key, value) in table {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            if !is_database_name(name) {
                self.mistake(at, "the name of a database has letters, digits, '-' and '_', at most 64");
                continue;
            }
            if databases.len() >= DATABASES_MAX {
                return self.mistake(at, &format!("at most {DATABASES_MAX} databases can be offered"));
            }
            let offer = match value.get_ref() {
                DeValue::Table(table) => self.database(at, table),
                _ => self.absolute(value).map(DatabaseOffer::sqlite),
            };
            databases.extend(offer.map(|offer| (name.to_owned(), offer)));
        }
    }

    fn database(&mut self, at: usize, table: &DeTable<'_>) -> Option<DatabaseOffer> {
        let mut path = None;
        let mut offer = DatabaseOffer::sqlite("");
        for (key, value) in table {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("path", _) => path = self.absolute(value),
                ("read_only", DeValue::Boolean(yes)) => offer.read_only = *yes,
                ("read_only", _) => self.mistake(value.span().start, "expected true or false"),
                ("tables", DeValue::Array(_)) => offer.tables = self.texts(value),
                ("tables", _) => {
                    self.mistake(value.span().start, "expected a list of tables, such as [\"customers\"]");
                }
                ("time_limit", _) => {
                    self.require(value, units::parse_duration, &mut offer.time_limit);
                    if offer.time_limit > TIME_LIMIT_MAX {
                        self.mistake(value.span().start, "a statement takes at most 60 s");
                    }
                }
                (name, _) => self.unknown(key.span().start, name, &DATABASE),
            }
        }
        if path.is_none() && !table.iter().any(|(key, _)| key.get_ref() == "path") {
            self.mistake(at, "a database needs its path: path = \"/srv/crm.db\"");
        }
        offer.path = path?;
        Some(offer)
    }

    /// A list of texts.
    fn texts(&mut self, value: &toml::Spanned<DeValue<'_>>) -> Option<Vec<String>> {
        let DeValue::Array(items) = value.get_ref() else { return None };
        let mut texts = Vec::new();
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => texts.push(text.as_ref().to_owned()),
                _ => self.mistake(item.span().start, "expected a text in quotes"),
            }
        }
        Some(texts)
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    #[test]
    fn a_database_is_a_path_or_a_table_and_every_mistake_has_its_place() {
        let text = "[databases]\ncrm = \"/srv/crm.db\"\n[databases.shop]\npath = \"/srv/shop.db\"\nread_only = true\n\
                    tables = [\"orders\"]\ntime_limit = \"10s\"\n";
        let config = Config::parse(text).unwrap();
        let offered = |name: &str| {
            config
                .databases
                .iter()
                .find(|(offered, _)| offered == name)
                .map(|(_, offer)| offer.clone())
                .unwrap()
        };
        assert_eq!(offered("crm"), "/srv/crm.db".into());
        let shop = offered("shop");
        assert!(shop.read_only && shop.tables == Some(vec!["orders".to_owned()]));
        assert_eq!(shop.time_limit.as_secs(), 10);

        for (text, mistake) in [
            ("[databases]\ncrm = \"crm.db\"\n", "2:7: expected an absolute path"),
            ("[databases]\n\"a.b\" = \"/a\"\n", "2:1: the name of a database"),
            ("[databases.crm]\nread_only = true\n", "a database needs its path"),
            (
                "[databases.crm]\npath = \"/a\"\nreadonly = true\n",
                "3:1: unknown field 'readonly'; did you mean",
            ),
            ("[databases.crm]\npath = \"/a\"\ntime_limit = \"none\"\n", "3:14: this must be bounded"),
            ("[databases.crm]\npath = \"/a\"\ntime_limit = \"5m\"\n", "3:14: a statement takes at most 60 s"),
            ("[databases.crm]\npath = \"/a\"\ntables = \"x\"\n", "3:10: expected a list of tables"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.message().contains(mistake), "{text}: {error}");
        }
    }
}
