//! What people see of a plugin.

use super::*;
use std::collections::BTreeMap;

use ringfence::consent::ConsentRequest;
use ringfence::plugin::{GrantInfo, PendingUpgrade, PreviousVersion};
use ringfence_api::{Denial, EnforcedLayer, Manifest, Permission, PluginState};
use serde_json::json;

fn manifest() -> Manifest {
    serde_json::from_value(json!({
        "name": "translator", "version": "1.2.0", "runtime": "python", "entry_point": "t.py",
        "description": "Translates.\n\u{1b}[2J",
        "permissions": [
            {"permission": "file:read", "scope": ["/srv/notes/**"]},
            {"permission": "env:read", "scope": ["LANG"], "optional": true}
        ],
        "hooks": [{"event": "onRequest", "kind": "mutator", "timeout_ms": 200}],
        "tools": [{"name": "translate", "description": "Says it in another language", "input_schema": {
            "properties": {"text": {"type": "string"}, "target": {"enum": ["de", "fr"], "default": "de"}},
            "required": ["text"]
        }}],
        "config_schema": {"properties": {"key": {"type": "string", "writeOnly": true}}}
    }))
    .unwrap()
}

fn details() -> PluginDetails {
    let manifest = manifest();
    let granted: Permission = "file:read=/srv/notes/**".parse().unwrap();
    let command = vec!["/usr/bin/python3".to_owned(), "t.py".to_owned()];
    let asks = ConsentRequest::of(
        &manifest,
        "unsigned:Example Labs",
        "ab12",
        command,
        std::slice::from_ref(&granted),
        None,
    )
    .unwrap();
    PluginDetails {
        name: manifest.name.clone(),
        version: "1.2.0".to_owned(),
        state: PluginState::Active,
        reason: None,
        runtime: manifest.runtime,
        publisher: "unsigned:Example Labs".to_owned(),
        digest: "ab12".to_owned(),
        source: "/src/translator".to_owned(),
        installed_at_ms: 0,
        manifest,
        asks,
        grants: vec![GrantInfo {
            permission: granted,
            meaning: "read files below /srv/notes".to_owned(),
            enforced: ringfence::enforcement::Enforcement::Sandbox,
            granted_at_ms: 0,
            granted_by: "ada".to_owned(),
            policy: None,
            place: None,
            warnings: Vec::new(),
        }],
        network: "none",
        limits: LimitsInfo {
            init_timeout_ms: 30_000,
            call_timeout_ms: 1_500,
            memory_bytes: Some(500_000_000),
            cpu_percent: Some(80),
            processes: None,
            file_size_bytes: Some(100_000_000),
            log_bytes: 5_000_000,
            data_bytes: 1_000_000_000,
            by_policy: BTreeMap::new(),
        },
        policy: None,
        running: false,
        enforced: BTreeMap::new(),
        recent_crashes: 0,
        denials: Vec::new(),
        previous: None,
        pending: None,
    }
}

#[test]
fn a_plugin_is_shown_in_sections() {
    let expected = r#"translator 1.2.0: active
  says of itself: "Translates.\n\u{1b}[2J"

  publisher  unsigned:Example Labs
  runtime    python, /usr/bin/python3 t.py
  installed  1970-01-01 00:00:00 UTC from /src/translator
  package    ab12
  process    does not run now
  network    none

Permissions
  granted      read files below /srv/notes
               file:read=/srv/notes/**
  not granted  read the environment variable LANG (optional)
               env:read=LANG
  not granted  be called at the hook point onRequest{HOOK}
               hook:register=onRequest
  it can not   see other plugins, other processes or your environment,
               touch other files than those,
               reach the network,
               start programs,
               use more than its limits

Tools
  translate
      Says it in another language
      text: string, required
      target: one of ["de","fr"], default "de"

Hooks
  onRequest  mutator, priority 50, 200 ms

Configuration
      key: string, secret

Limits
  memory     500 MB
  processor  80 % of one core
  processes  no limit
  one file   100 MB
  data       1000 MB
  log        5000 KB
  start      30 s
  one call   1.5 s"#;
    let hook =
        ringfence::enforcement::enforcement(&ringfence_api::PermissionName::HookRegister, details().runtime);
    assert_eq!(answer(&details()).unwrap().for_people(), expected.replace("{HOOK}", hook.remark()));
}

#[test]
fn trouble_is_shown_with_what_to_do() {
    let mut denial = Denial::new("landlock", "open");
    denial.object = "/etc/x\u{1b}".to_owned();
    let details = PluginDetails {
        state: PluginState::Quarantined,
        reason: Some("6 crashes in 10 minutes".to_owned()),
        running: true,
        enforced: BTreeMap::from([(
            "memory".to_owned(),
            EnforcedLayer::by("cgroup_v1").with_detail("500 MB"),
        )]),
        recent_crashes: 6,
        denials: vec![denial],
        previous: Some(PreviousVersion { version: "1.1.0".to_owned(), digest: "cd".to_owned() }),
        pending: Some(PendingUpgrade {
            version: "2.0.0".to_owned(),
            digest: "ef".to_owned(),
            wider: vec!["profile:read".parse().unwrap()],
            publisher_change: None,
        }),
        ..details()
    };
    let text = answer(&details).unwrap().for_people();
    for part in [
        "translator 1.2.0: quarantined\n  because 6 crashes in 10 minutes\n",
        "\n  process    runs\n",
        "\n  before     1.1.0; go back with: ringfence rollback translator\n",
        "\n  waiting    2.0.0 waits for consent to profile:read\n",
        "\nSandbox\n  memory       cgroup_v1 (500 MB)\n",
        "\nCrashes in the last ten minutes: 6\n",
        "\nRefused\n  open /etc/x\\u{1b}, by landlock, 1 time(s)\n  what would allow it: ringfence why translator",
    ] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}

#[test]
fn the_document_has_what_programs_look_for() {
    let document = serde_json::to_value(details()).unwrap();
    for member in ["name", "version", "state", "runtime", "manifest", "grants", "limits"] {
        assert!(document.get(member).is_some(), "{member}");
    }
}
