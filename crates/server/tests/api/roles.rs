//! What each role and each plugin's token may do with each route.

use ringfence_api::Role;
use serde_json::json;

use crate::client::{get, post, put, request};
use crate::rig::Rig;

/// Method, path, and the least role.
const NEEDS: &[(&str, &str, Role)] = &[
    ("GET", "/plugins", Role::Viewer),
    ("POST", "/plugins", Role::Admin),
    ("POST", "/plugins/scan", Role::Viewer),
    ("GET", "/plugins/nobody", Role::Viewer),
    ("DELETE", "/plugins/nobody", Role::Admin),
    ("POST", "/plugins/nobody/activate", Role::Operator),
    ("POST", "/plugins/nobody/deactivate", Role::Operator),
    ("POST", "/plugins/nobody/upgrade", Role::Admin),
    ("DELETE", "/plugins/nobody/upgrade", Role::Admin),
    ("POST", "/plugins/nobody/rollback", Role::Admin),
    ("POST", "/plugins/nobody/call", Role::Operator),
    ("GET", "/plugins/nobody/config", Role::Viewer),
    ("PUT", "/plugins/nobody/config", Role::Admin),
    ("GET", "/plugins/nobody/grants", Role::Viewer),
    ("PUT", "/plugins/nobody/grants", Role::Admin),
    ("GET", "/plugins/nobody/activity", Role::Viewer),
    ("GET", "/plugins/nobody/logs", Role::Viewer),
    ("GET", "/plugins/nobody/resources", Role::Viewer),
    ("GET", "/plugins/nobody/denials", Role::Viewer),
    ("GET", "/hooks", Role::Viewer),
    ("POST", "/hooks/onX", Role::Operator),
    ("POST", "/events", Role::Operator),
    ("GET", "/executions", Role::Viewer),
    ("POST", "/exec", Role::Admin),
    ("GET", "/runs", Role::Viewer),
    ("GET", "/runs/1", Role::Viewer),
    ("POST", "/runs/1/cancel", Role::Admin),
    ("GET", "/runs/1/stream", Role::Viewer),
    ("GET", "/audit", Role::Viewer),
    ("GET", "/audit/verify", Role::Viewer),
    ("GET", "/health", Role::Viewer),
    ("GET", "/metrics", Role::Viewer),
    ("GET", "/tokens", Role::Admin),
    ("POST", "/tokens", Role::Admin),
    ("DELETE", "/tokens/1", Role::Admin),
    ("POST", "/dashboard/links", Role::Admin),
    ("GET", "/openapi.json", Role::Viewer),
];

#[test]
fn api_04_each_role_does_what_it_may_and_nothing_else() {
    let rig = Rig::new();
    let mut known: Vec<(String, String)> =
        NEEDS.iter().map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    known.push(("GET".to_owned(), "/stream".to_owned()));
    let mut there = crate::doors::routes();
    known.sort();
    there.sort();
    assert_eq!(known, there, "a route that this table does not have");
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        let (_, token) = rig.token(role, None, None);
        for (method, path, least) in NEEDS {
            let answer = rig.send_as(&token, &request(method, path).body("application/json", b"{"));
            if role < *least {
                assert_eq!(answer.refusal(), (403, "forbidden".to_owned()), "{role} {method} {path}");
            } else {
                assert_ne!(answer.status, 403, "{role} {method} {path}");
                assert_ne!(answer.status, 401, "{role} {method} {path}");
            }
        }
    }
}

#[test]
fn api_04_a_token_of_one_plugin_sees_that_plugin_alone() {
    let rig = Rig::new();
    let code = "def hi(a):\n    return 'hi'\n";
    rig.active("mine", "", &["hi"], code);
    rig.active("other", "", &["hi"], code);
    let (_, token) = rig.token(Role::Admin, Some("mine"), None);
    let listed = rig.send_as(&token, &get("/plugins")).ok();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["name"], "mine");
    let call = json!({"tool": "hi"});
    assert_eq!(rig.send_as(&token, &post("/plugins/mine/call", &call)).ok(), json!({"result": "hi"}));
    for refused in [
        post("/plugins/other/call", &call),
        get("/plugins/other"),
        put("/plugins/other/grants", &json!({"permissions": []})),
        post("/tokens", &json!({"role": "admin"})),
        get("/tokens"),
        get("/audit"),
        get("/metrics"),
        get("/hooks"),
        post("/exec", &json!({"command": ["true"]})),
        get("/executions?plugin=other"),
        post("/plugins/nobody/call", &call),
    ] {
        assert_eq!(rig.send_as(&token, &refused).refusal(), (403, "forbidden".to_owned()), "{refused:?}");
    }
    let executions = rig.send_as(&token, &get("/executions")).ok();
    let all = executions["executions"].as_array().unwrap();
    assert!(!all.is_empty() && all.iter().all(|record| record["plugin"] == "mine"), "{executions}");
    // A package of another plugin cannot come in by the way of the own one.
    let package = rig.package("other", "2.0.0", "", &["hi"], code);
    let upgrade = post("/plugins/mine/upgrade", &json!({"path": package, "grant_requested": true}));
    assert_eq!(rig.send_as(&token, &upgrade).refusal().0, 400);
    assert_eq!(rig.send(&get("/plugins/other")).ok()["version"], "1.0.0");
    let (_, gone) = rig.token(Role::Viewer, Some("mine"), None);
    rig.send(&request("DELETE", "/plugins/mine")).ok();
    assert_eq!(rig.send_as(&gone, &get("/plugins")).status, 401, "it goes with its plugin");
}
