//! A native plugin: counts the tokens of every answer, as the server says or by a rule of thumb. It speaks the protocol of
//! docs/protocol.md with nothing but a JSON library.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};

use serde_json::{Value, json};

/// A rule of thumb for English text.
const BYTES_PER_TOKEN: u64 = 4;

#[derive(Default)]
struct Counter {
    by_model: BTreeMap<String, (u64, u64)>,
}

impl Counter {
    /// `onResponse` and `onStreamEnd`.
    fn count(&mut self, params: &Value) {
        let body = params.get("body").unwrap_or(&Value::Null);
        let metadata = params.get("metadata").unwrap_or(&Value::Null);
        let model = body.get("model").or_else(|| metadata.get("model")).and_then(Value::as_str);
        let said = body.pointer("/usage/total_tokens").and_then(Value::as_u64);
        let text = body.pointer("/choices/0/message/content").or_else(|| body.get("text"));
        let guessed =
            text.and_then(Value::as_str).map_or(0, |text| (text.len() as u64).div_ceil(BYTES_PER_TOKEN));
        let (answers, tokens) = self.by_model.entry(model.unwrap_or("unknown").to_owned()).or_default();
        *answers += 1;
        *tokens += said.unwrap_or(guessed);
    }

    fn totals(&self) -> Value {
        let each = |(answers, tokens): &(u64, u64)| json!({"answers": answers, "tokens": tokens});
        Value::Object(self.by_model.iter().map(|(model, total)| (model.clone(), each(total))).collect())
    }

    fn answer(&mut self, method: &str, params: &Value) -> Value {
        match method {
            "initialize" => json!({"result": {"protocol_version": "1", "tools": ["totals"]}}),
            "hook" => {
                self.count(params);
                json!({"result": null})
            }
            "call" => json!({"result": self.totals()}),
            "ping" | "shutdown" | "config_changed" | "handle_event" => json!({"result": null}),
            _ => json!({"error": {"code": -32601, "message": "no such method"}}),
        }
    }
}

fn main() -> std::io::Result<()> {
    let mut counter = Counter::default();
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
        let (Some(id), Some(method)) = (message.get("id"), message.get("method").and_then(Value::as_str))
        else {
            continue;
        };
        let mut reply = counter.answer(method, message.get("params").unwrap_or(&Value::Null));
        if let Value::Object(members) = &mut reply {
            members.insert("jsonrpc".to_owned(), "2.0".into());
            members.insert("id".to_owned(), id.clone());
        }
        writeln!(output, "{reply}")?;
        output.flush()?;
    }
    Ok(())
}
