//! The whole life of one plugin of each runtime.

use ringfence::plugin::{Consent, KeepData};
use ringfence_api::{ErrorCode, PluginState};
use serde_json::json;

use crate::rig::Rig;

const PYTHON: &[(&str, &str)] = &[
    (
        "plugin.yaml",
        "name: greeter\nversion: 1.0.0\nruntime: python\nentry_point: greeter.py\ntools:\n  - name: greet\n    input_schema:\n      type: object\n      properties: {name: {type: string}}\n      required: [name]\n",
    ),
    ("greeter.py", "def greet(arguments):\n    return 'hello ' + arguments['name']\n"),
];

const NODE: &[(&str, &str)] = &[
    (
        "plugin.json",
        r#"{"name": "adder", "version": "1.0.0", "runtime": "node", "entry_point": "adder.mjs", "tools": [{"name": "add"}]}"#,
    ),
    ("adder.mjs", "export function add({a, b}) { return a + b; }\n"),
];

const SHELL: &[(&str, &str)] = &[
    (
        "plugin.toml",
        "name = \"echo\"\nversion = \"1.0.0\"\nruntime = \"native\"\nentry_point = \"echo.sh\"\n[[tools]]\nname = \"echo\"\n",
    ),
    (
        "echo.sh",
        "#!/bin/bash\nwhile IFS= read -r line; do\n  id=${line#*\\\"id\\\":}; id=${id%%[,\\}]*}\n  case $line in\n    *'\"method\":\"initialize\"'*) echo '{\"jsonrpc\":\"2.0\",\"id\":'$id',\"result\":{\"protocol_version\":\"1\"}}' ;;\n    *'\"method\":\"call\"'*) echo '{\"jsonrpc\":\"2.0\",\"id\":'$id',\"result\":\"echoed\"}' ;;\n    *'\"id\":'*) echo '{\"jsonrpc\":\"2.0\",\"id\":'$id',\"result\":null}' ;;\n  esac\ndone\n",
    ),
];

#[tokio::test]
async fn each_runtime_is_installed_activated_called_and_removed() {
    let rig = Rig::new().await;
    for (name, files, tool, arguments, result) in [
        ("greeter", PYTHON, "greet", json!({"name": "Ada"}), json!("hello Ada")),
        ("adder", NODE, "add", json!({"a": 2, "b": 3}), json!(5)),
        ("echo", SHELL, "echo", json!({}), json!("echoed")),
    ] {
        let package = rig.package(name, files);
        let installed = rig.host.install(&package, Consent::Absent).await.unwrap();
        assert_eq!((installed.plugin.name.as_str(), installed.plugin.state), (name, PluginState::Inactive));
        let refused = rig.host.call(name, tool, arguments.clone()).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::NotActive, "{name}: {refused}");
        let active =
            rig.host.activate(name).await.unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
        assert_eq!(active.state, PluginState::Active, "{name}");
        let begun = std::time::Instant::now();
        let answer = rig.host.call(name, tool, arguments.clone()).await;
        println!("{name}: {:?}", begun.elapsed());
        assert_eq!(answer.unwrap_or_else(|error| panic!("{name}: {}", error.chain())), result, "{name}");
        assert_eq!(rig.host.deactivate(name).await.unwrap().state, PluginState::Inactive);
        rig.host.uninstall(name, KeepData::No).await.unwrap();
        assert_eq!(rig.host.show(name).await.unwrap_err().code(), ErrorCode::NotFound);
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_is_enabled_by_default_is_active_once_somebody_has_consented() {
    let rig = Rig::new().await;
    let code = "def ok(arguments):\n    return 'ok'\n";
    let head = "enabled_by_default: true\npermissions: ['env:read=LANG']\n";
    let package = rig.python_package("eager", "1.0.0", head, &["ok"], code);
    let waits = rig.host.install(&package, Consent::Absent).await.unwrap();
    assert_eq!(waits.plugin.state, PluginState::Installed, "not without consent");
    rig.host.uninstall("eager", KeepData::No).await.unwrap();
    assert_eq!(
        rig.host.install(&package, Consent::Requested).await.unwrap().plugin.state,
        PluginState::Active
    );
    assert_eq!(rig.call("eager", "ok").await.unwrap(), "ok");
    rig.host.uninstall("eager", KeepData::No).await.unwrap();
    // A consent that follows the install.
    rig.host.install(&package, Consent::Absent).await.unwrap();
    assert_eq!(
        rig.host.consent("eager", Consent::Only(Vec::new())).await.unwrap().state,
        PluginState::Active
    );
    // One that has consent and was put to rest stays at rest.
    rig.host.deactivate("eager").await.unwrap();
    assert_eq!(rig.host.consent("eager", Consent::Requested).await.unwrap().state, PluginState::Inactive);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn grants_that_are_all_it_needs_are_a_consent_and_fewer_are_none() {
    let rig = Rig::new().await;
    let code = "def ok(arguments):\n    return 'ok'\n";
    let needs = "permissions: ['env:read=LANG', 'env:read=TZ', {permission: 'env:read', scope: [TERM], optional: true}]\n";
    let eager =
        rig.python_package("eager", "1.0.0", &format!("enabled_by_default: true\n{needs}"), &["ok"], code);
    let calm = rig.python_package("calm", "1.0.0", needs, &["ok"], code);
    for package in [&eager, &calm] {
        rig.host.install(package, Consent::Absent).await.unwrap();
    }
    for (name, then) in [("eager", PluginState::Active), ("calm", PluginState::Inactive)] {
        rig.host.grant(name, &["env:read=LANG".parse().unwrap()]).await.unwrap();
        assert_eq!(rig.state(name).await, PluginState::Installed, "{name}: not all");
        let granted = rig.host.grant(name, &["env:read=TZ".parse().unwrap()]).await.unwrap();
        assert_eq!((granted.len(), rig.state(name).await), (2, then), "{name}");
    }
    assert_eq!(rig.call("eager", "ok").await.unwrap(), "ok");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_command_of_the_host_is_recorded_in_its_home_and_may_not_read_that() {
    let rig = Rig::new().await;
    let home = rig.host.home().clone();
    let secret = home.path().join("secret");
    std::fs::write(&secret, "the state of the host").unwrap();
    let cat = |grants: &str| {
        let mut exec = ringfence::exec::Exec::new(["cat".as_ref(), secret.as_os_str()]);
        exec.grant(grants);
        exec
    };
    let all = format!("file:read={}/**", rig.path("").display());
    let own = ringfence::exec::RunStore::new(&home, ringfence::Config::default().runs);
    let run = rig.host.exec(&cat(&all)).unwrap().wait();
    assert_ne!(run.report.exit_code, Some(0), "{:?}", run.report);
    let listed = own.list(None, 10).unwrap().runs;
    let [stored] = &listed[..] else { panic!("one run is recorded: {listed:?}") };
    assert_eq!(own.show(stored.id).unwrap().report.as_ref(), Some(&run.report));
    assert_eq!(std::fs::read(&secret).unwrap(), b"the state of the host", "without a sandbox it is there");
    let named = format!("file:read={}", secret.display());
    let run = rig.host.exec(&cat(&named)).unwrap().wait();
    assert_eq!(run.stdout, b"the state of the host", "granted by its name, it is there");
    rig.host.shutdown().await;
}

#[tokio::test]
async fn withheld_consent_leaves_everything_to_a_person() {
    let rig = Rig::new().await;
    let eager = [PYTHON[0].1, "enabled_by_default: true\n"].concat();
    let package = rig.package("greeter", &[("plugin.yaml", &eager), PYTHON[1]]);
    let waits = rig.host.install(&package, Consent::Withheld).await.unwrap();
    assert_eq!((waits.changed, waits.plugin.state), (true, PluginState::Installed));
    let again = rig.host.install(&package, Consent::Withheld).await.unwrap();
    assert_eq!((again.changed, again.plugin.state), (false, PluginState::Installed));
    let refused = rig.host.consent("greeter", Consent::Withheld).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ConsentRequired);
    // The twin: nobody was asked, it asks for nothing, and it means to be active.
    let active = rig.host.install(&package, Consent::Absent).await.unwrap();
    assert_eq!(active.plugin.state, PluginState::Active);
    rig.host.shutdown().await;
}
