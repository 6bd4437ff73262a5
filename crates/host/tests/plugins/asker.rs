//! A plugin in Python and one in Node that ask their host for what a test tells them, and tell what came of it.

use ringfence::plugin::Consent;
use ringfence_api::Permission;
use serde_json::{Value, json};

use crate::rig::Rig;

/// The same plugin in two languages.
pub(crate) const ASKERS: [&str; 2] = ["asker-python", "asker-node"];

const PYTHON: &str = r#"
import base64, threading
from ringfence import HostError, host

def plain(value):
    if isinstance(value, bytes):
        return {'base64': base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value

def given(value):
    return base64.b64decode(value['base64']) if isinstance(value, dict) and 'base64' in value else value

def ask(a):
    try:
        return {'result': plain(getattr(host, a['function'])(*map(given, a['arguments']), **a.get('options', {})))}
    except HostError as error:
        said = {name: getattr(error, name, None) for name in ('code', 'number', 'layer', 'operation', 'object', 'grant')}
        return dict(said, message=error.message)

def many(a):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(a))) for _ in range(a['times'])]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    return answers

def where(a):
    return host.data_dir
"#;

const NODE: &str = r#"
import { HostError, host } from 'ringfence';

const plain = (value) => {
  if (Buffer.isBuffer(value)) return { base64: value.toString('base64') };
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  return value ?? null;
};
const given = (value) => (value?.base64 === undefined ? value : Buffer.from(value.base64, 'base64'));
const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());

export async function ask({ function: name, arguments: values, options }) {
  try {
    const { timeout_s: seconds, ...rest } = options ?? {};
    const named = seconds === undefined ? rest : { ...rest, timeoutMs: seconds * 1000 };
    return { result: plain(await host[camel(name)](...values.map(given), ...(options === undefined ? [] : [named]))) };
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    const { code, number, message, layer = null, operation = null, object = null, grant = null } = error;
    return { code, number, message, layer, operation, object, grant };
  }
}

export const many = (a) => Promise.all(Array.from({ length: a.times }, () => ask(a)));
export const where = () => host.dataDir;
"#;

impl Rig {
    /// Installs and activates both, with these grants and more of the manifest.
    pub(crate) async fn askers(&self, grants: &[String], head: &str) {
        let tools = "tools:\n  - name: ask\n  - name: many\n  - name: where\n";
        for (name, runtime, file, code) in
            [(ASKERS[0], "python", "main.py", PYTHON), (ASKERS[1], "node", "main.mjs", NODE)]
        {
            let asked = serde_json::to_string(grants).unwrap();
            let manifest = format!(
                "name: {name}\nversion: 1.0.0\nruntime: {runtime}\nentry_point: {file}\npermissions: {asked}\n{head}{tools}"
            );
            let package = self.package(name, &[("plugin.yaml", &manifest), (file, code)]);
            self.host
                .install(&package, Consent::Requested)
                .await
                .unwrap_or_else(|error| panic!("{}", error.chain()));
            self.host.activate(name).await.unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
        }
    }

    /// Grants the same to both.
    pub(crate) async fn grant_askers(&self, grants: &[String]) {
        let grants: Vec<Permission> = grants.iter().map(|grant| grant.parse().unwrap()).collect();
        for name in ASKERS {
            self.host.grant(name, &grants).await.unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
        }
    }

    /// What the host answers to one function of the SDK.
    pub(crate) async fn ask(&self, name: &str, function: &str, arguments: Value) -> Value {
        self.ask_with(name, json!({"function": function, "arguments": arguments})).await
    }

    /// The same with options of the function.
    pub(crate) async fn ask_with(&self, name: &str, what: Value) -> Value {
        let asked = what.to_string();
        let answer = self.host.call(name, "ask", what).await;
        answer.unwrap_or_else(|error| panic!("{name} {asked}: {}", error.chain()))
    }

    /// Asks, is refused in exactly this way, and finds the refusal in the records.
    pub(crate) async fn refused(
        &self,
        name: &str,
        function: &str,
        arguments: Value,
        object: &str,
        grant: &str,
    ) {
        let said = self.ask(name, function, arguments).await;
        let expected = json!({
            "code": "permission_denied", "number": -31001, "layer": "host_api", "operation": function,
            "object": object, "grant": grant, "message": said.get("message"),
        });
        assert_eq!(said, expected, "{name}");
        let recorded = self.host.denials(name).await.unwrap();
        let found = recorded.iter().any(|denial| {
            (
                denial.layer.as_str(),
                denial.operation.as_str(),
                denial.object.as_str(),
                denial.grant.as_deref(),
            ) == ("host_api", function, object, Some(grant))
        });
        assert!(found, "{name}: {object} in {recorded:?}");
    }
}
