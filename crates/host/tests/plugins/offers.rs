//! What the host application offers: its users' profiles, and methods of its own.

use std::sync::{Arc, Mutex};

use ringfence::plugin::CallOptions;
use ringfence::rpc::RpcError;
use ringfence::service::{Method, MethodCall, ProfileAnswer, ProfileProvider, ProfileRequest};
use serde_json::{Map, Value, json};

use crate::asker::ASKERS;
use crate::rig::Rig;

/// Knows one user, tells more than it is asked, and remembers who asked.
#[derive(Clone, Default)]
struct Users {
    asked: Arc<Mutex<Vec<ProfileRequest>>>,
}

impl ProfileProvider for Users {
    fn fields(&self) -> Vec<String> {
        ["name", "language", "email"].map(str::to_owned).to_vec()
    }

    fn profile(&self, request: ProfileRequest) -> ProfileAnswer<'_> {
        self.asked.lock().unwrap().push(request);
        Box::pin(async {
            let all = [("name", "Ada"), ("language", "en"), ("email", "ada@example.com"), ("salary", "much")];
            Ok(all.map(|(field, value)| (field.to_owned(), json!(value))).into_iter().collect::<Map<_, _>>())
        })
    }
}

async fn profile(rig: &Rig, name: &str, fields: Option<&[&str]>) -> Value {
    rig.ask(name, "get_user_profile", fields.map_or_else(|| json!([]), |fields| json!([fields]))).await
}

#[tokio::test]
async fn each_field_of_a_profile_is_granted_by_itself_and_sensitive_ones_by_their_name() {
    let users = Users::default();
    let rig = Rig::made(|builder| builder.profile(users.clone())).await;
    rig.askers(&[], "").await;
    for name in ASKERS {
        rig.refused(name, "get_user_profile", json!([]), "profile", "profile:read").await;
        rig.refused(name, "get_user_profile", json!([["name"]]), "name", "profile:read=name").await;
    }
    assert!(users.asked.lock().unwrap().is_empty(), "who is refused is not asked for");
    rig.grant_askers(&["profile:read=name".into()]).await;
    for name in ASKERS {
        assert_eq!(profile(&rig, name, None).await, json!({"result": {"name": "Ada"}}));
        assert_eq!(profile(&rig, name, Some(&["name"])).await, json!({"result": {"name": "Ada"}}));
        let more = json!([["name", "language"]]);
        rig.refused(name, "get_user_profile", more, "language", "profile:read=language").await;
    }
    rig.grant_askers(&["profile:read".into(), "profile:read=*".into(), "profile:read=e*".into()]).await;
    for name in ASKERS {
        let open = json!({"result": {"name": "Ada", "language": "en"}});
        assert_eq!(profile(&rig, name, None).await, open, "all but the sensitive one");
        rig.refused(name, "get_user_profile", json!([["email"]]), "email", "profile:read=email").await;
    }
    rig.grant_askers(&["profile:read=email".into()]).await;
    for name in ASKERS {
        let email = json!({"result": {"email": "ada@example.com"}});
        assert_eq!(profile(&rig, name, Some(&["email"])).await, email);
        // What the provider tells unasked is not passed on.
        assert_eq!(profile(&rig, name, None).await["result"].as_object().unwrap().len(), 3);
        for bad in [json!([[]]), json!([[""]]), json!([vec!["a"; 65]])] {
            assert_eq!(rig.ask(name, "get_user_profile", bad).await["code"], "invalid_params");
        }
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn the_provider_hears_on_whose_behalf_a_plugin_asks() {
    let users = Users::default();
    let rig = Rig::made(|builder| builder.profile(users.clone())).await;
    rig.askers(&["profile:read=name".into()], "").await;
    for name in ASKERS {
        let options =
            CallOptions { correlation_id: Some(format!("of-ada-{name}")), ..CallOptions::default() };
        let what = json!({"function": "get_user_profile", "arguments": [["name"]]});
        let arguments = serde_json::value::to_raw_value(&what).unwrap();
        rig.host.call_with(name, "ask", &arguments, &options).await.unwrap();
        let asked = users.asked.lock().unwrap().pop().unwrap();
        assert_eq!((asked.plugin.as_str(), asked.within_call), (name, true));
        assert_eq!((asked.correlation_id, asked.fields), (format!("of-ada-{name}"), vec!["name".to_owned()]));
    }
    rig.host.shutdown().await;
}

#[tokio::test]
async fn without_a_provider_a_grant_opens_nothing_and_says_so() {
    let rig = Rig::new().await;
    rig.askers(&[], "").await;
    for name in ASKERS {
        rig.refused(name, "get_user_profile", json!([]), "profile", "profile:read").await;
    }
    rig.grant_askers(&["profile:read=name".into()]).await;
    for name in ASKERS {
        for fields in [None, Some(&["name"][..])] {
            assert_eq!(profile(&rig, name, fields).await["code"], "not_supported");
        }
        rig.refused(name, "get_user_profile", json!([["email"]]), "email", "profile:read=email").await;
    }
    rig.host.shutdown().await;
}

fn export() -> Method {
    let handler = |call: MethodCall| async move {
        match call.object.as_str() {
            "broken" => Err(RpcError::new(ringfence_api::rpc::RpcErrorCode::Busy, "come back tomorrow")),
            object => Ok(json!({"of": object, "by": call.plugin.as_str(), "year": call.params.get("year")})),
        }
    };
    let made = Method::new("x_crm_export", "x-crm:export", handler).unwrap();
    made.object(|params| params["customer"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn a_method_of_the_application_is_judged_by_its_permission_and_its_object() {
    let ping = Method::new("x_ping", "x-crm:ping", |call: MethodCall| async move {
        Ok::<_, RpcError>(json!([call.object, call.within_call, call.correlation_id.is_empty()]))
    });
    let rig = Rig::made(|builder| builder.method(export()).method(ping.unwrap())).await;
    rig.askers(&[], "").await;
    let acme = json!(["x_crm_export", {"customer": "acme", "year": 2026}]);
    let request = |arguments: Value| json!({"function": "request", "arguments": arguments});
    let refuse = async |name: &str, arguments: Value, object: &str, grant: &str| {
        let said = rig.ask_with(name, request(arguments.clone())).await;
        let got = [&said["code"], &said["layer"], &said["operation"], &said["object"], &said["grant"]];
        assert_eq!(got, ["permission_denied", "host_api", arguments[0].as_str().unwrap(), object, grant]);
        let recorded = rig.host.denials(name).await.unwrap();
        assert!(recorded.iter().any(|denial| denial.grant.as_deref() == Some(grant)), "{recorded:?}");
    };
    for name in ASKERS {
        refuse(name, acme.clone(), "acme", "x-crm:export=acme").await;
        refuse(name, json!(["x_ping", {}]), "x_ping", "x-crm:ping=x_ping").await;
        let unknown = rig.ask_with(name, request(json!(["x_unknown", {}]))).await;
        assert_eq!(unknown["number"], -32601, "{unknown}");
    }
    rig.grant_askers(&["x-crm:export=acme".into(), "x-crm:ping".into()]).await;
    for name in ASKERS {
        let exported = json!({"result": {"of": "acme", "by": name, "year": 2026}});
        assert_eq!(rig.ask_with(name, request(acme.clone())).await, exported);
        let other = json!(["x_crm_export", {"customer": "other"}]);
        refuse(name, other, "other", "x-crm:export=other").await;
        let nothing = rig.ask_with(name, request(json!(["x_crm_export", {}]))).await;
        assert_eq!(nothing["code"], "invalid_params", "{nothing}");
        let pinged = json!({"result": ["x_ping", true, false]});
        assert_eq!(rig.ask_with(name, request(json!(["x_ping", {}]))).await, pinged);
    }
    rig.grant_askers(&["x-crm:export".into()]).await;
    for name in ASKERS {
        let broken = rig.ask_with(name, request(json!(["x_crm_export", {"customer": "broken"}]))).await;
        assert_eq!((&broken["code"], &broken["message"]), (&json!("busy"), &json!("come back tomorrow")));
    }
    rig.host.shutdown().await;
}
