//! The members of a line that the protocol knows, borrowed from it.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// What stands in a line, unread.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Envelope<'a> {
    pub(super) jsonrpc: Option<&'a RawValue>,
    pub(super) id: Option<&'a RawValue>,
    pub(super) method: Option<&'a RawValue>,
    pub(super) params: Option<&'a RawValue>,
    pub(super) result: Option<&'a RawValue>,
    pub(super) error: Option<&'a RawValue>,
    pub(super) meta: Option<&'a RawValue>,
    /// A member that stands there twice. The first of the two is kept.
    pub(super) duplicate: Option<&'static str>,
}

/// A name of a member. Unknown ones are ignored; `Method` is unknown.
#[derive(Clone, Copy)]
enum Member {
    Known(&'static str),
    Unknown,
}

impl<'a> Envelope<'a> {
    pub(super) fn read(line: &'a str) -> serde_json::Result<Self> {
        let mut reader = serde_json::Deserializer::from_str(line);
        let envelope = reader.deserialize_map(Members)?;
        reader.end()?;
        Ok(envelope)
    }

    fn place(&mut self, name: &str) -> Option<&mut Option<&'a RawValue>> {
        Some(match name {
            "jsonrpc" => &mut self.jsonrpc,
            "id" => &mut self.id,
            "method" => &mut self.method,
            "params" => &mut self.params,
            "result" => &mut self.result,
            "error" => &mut self.error,
            "_meta" => &mut self.meta,
            _ => return None,
        })
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(member) = map.next_key_seed(Name)? {
            let Member::Known(name) = member else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value: &'de RawValue = map.next_value()?;
            match envelope.place(name) {
                Some(place @ None) => *place = Some(value),
                _ => envelope.duplicate = Some(name),
            }
        }
        Ok(envelope)
    }
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Member, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Member, E> {
        Ok(match name {
            "jsonrpc" => Member::Known("jsonrpc"),
            "id" => Member::Known("id"),
            "method" => Member::Known("method"),
            "params" => Member::Known("params"),
            "result" => Member::Known("result"),
            "error" => Member::Known("error"),
            "_meta" => Member::Known("_meta"),
            _ => Member::Unknown,
        })
    }
}
