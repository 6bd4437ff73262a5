//! Tokens: what opens, and everything alike that does not.

use std::time::Duration;

use ringfence::audit::AuditFilter;
use ringfence::plugin::{Consent, KeepData};
use ringfence::token::{CreatedToken, NewToken, TOKENS_MAX, TokenInfo};
use ringfence::{Config, Host};
use ringfence_api::{ErrorCode, Role};

use crate::rig::Rig;

const CODE: &str = "def ok(a):\n    return 'ok'\n";

async fn made(rig: &Rig, role: Role) -> CreatedToken {
    rig.host.create_token(NewToken::new(role)).await.unwrap()
}

async fn opens(host: &Host, token: &CreatedToken) -> Option<TokenInfo> {
    host.check_token(token.token.reveal()).await.unwrap()
}

fn database(rig: &Rig) -> rusqlite::Connection {
    rusqlite::Connection::open(rig.host.home().path().join("state.db")).unwrap()
}

#[tokio::test]
async fn a_token_opens_what_it_says_and_only_as_a_whole() {
    let rig = Rig::new().await;
    let (viewer, admin) = (made(&rig, Role::Viewer).await, made(&rig, Role::Admin).await);
    for (token, role) in [(&viewer, Role::Viewer), (&admin, Role::Admin)] {
        let info = opens(&rig.host, token).await.unwrap();
        assert_eq!((info.role, &info.id, info.expired), (role, &token.info.id, false));
        assert_eq!((info.created_by.as_str(), info.expires_at), ("library", None));
    }
    let whole = viewer.token.reveal().to_owned();
    let other = admin.token.reveal();
    let (other_id, other_secret) = other.rsplit_once('_').unwrap();
    let own_id = whole.rsplit_once('_').unwrap().0;
    for wrong in [
        whole[..whole.len() - 1].to_owned(),
        format!("{whole}0"),
        own_id.to_owned(),
        format!("{own_id}_"),
        format!("{own_id}_{other_secret}"),
        format!("{other_id}_{}", "0".repeat(64)),
        format!("rf_{}_{other_secret}", "0".repeat(16)),
        whole.to_uppercase(),
        String::new(),
        "rf_' OR 1=1 --_0".to_owned(),
        "a".repeat(1_000_000),
    ] {
        let shown: String = wrong.chars().take(100).collect();
        assert_eq!(rig.host.check_token(&wrong).await.unwrap(), None, "{shown}");
    }
    let ids: Vec<_> = rig.host.tokens().await.unwrap().into_iter().map(|token| token.id).collect();
    assert!(ids.len() == 2 && ids.contains(&viewer.info.id) && ids.contains(&admin.info.id));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn one_that_has_expired_or_was_revoked_opens_nothing_anywhere() {
    let rig = Rig::new().await;
    let life = |life| NewToken { expires: Some(life), ..NewToken::new(Role::Operator) };
    let short = rig.host.create_token(life(Duration::from_millis(1))).await.unwrap();
    let long = rig.host.create_token(life(Duration::from_secs(3_600))).await.unwrap();
    let other = made(&rig, Role::Operator).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert!(opens(&rig.host, &short).await.is_none() && opens(&rig.host, &long).await.is_some());
    assert!(long.info.expires_at.as_deref().unwrap().ends_with('Z'));
    assert!(rig.host.tokens().await.unwrap().iter().any(|token| token.id == short.info.id && token.expired));

    let second = Host::builder().home(rig.host.home().clone()).config(Config::default());
    let second = second.build().await.unwrap();
    assert!(opens(&second, &long).await.is_some());
    rig.host.revoke_token(&long.info.id).await.unwrap();
    assert!(opens(&rig.host, &long).await.is_none() && opens(&second, &long).await.is_none());
    assert!(opens(&second, &other).await.is_some(), "the others stay");
    let again = rig.host.revoke_token(&long.info.id).await.unwrap_err();
    assert_eq!(again.code(), ErrorCode::NotFound);
    second.shutdown().await;
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_row_that_was_written_by_hand_opens_nothing() {
    let rig = Rig::new().await;
    rig.python("p", "", &["ok"], CODE).await;
    let scoped = NewToken {
        plugin: Some("p".parse().unwrap()),
        expires: Some(Duration::from_secs(3_600)),
        ..NewToken::new(Role::Viewer)
    };
    let token = rig.host.create_token(scoped).await.unwrap();
    let known = made(&rig, Role::Viewer).await;
    let id = token.info.id.as_str();
    let connection = database(&rig);
    for change in [
        "role = 'admin'".to_owned(),
        "plugin = NULL".to_owned(),
        "expires_at_ms = NULL".to_owned(),
        "expires_at_ms = expires_at_ms + 1".to_owned(),
        "created_by = 'ada'".to_owned(),
        "name = 'x'".to_owned(),
        "seal = x'00'".to_owned(),
        "digest = x'00'".to_owned(),
        format!("digest = (SELECT digest FROM tokens WHERE id = '{}')", known.info.id),
    ] {
        connection.execute_batch("CREATE TEMP TABLE kept AS SELECT * FROM tokens").unwrap();
        assert!(opens(&rig.host, &token).await.is_some(), "the twin: before {change}");
        connection.execute_batch(&format!("UPDATE tokens SET {change} WHERE id = '{id}'")).unwrap();
        assert!(opens(&rig.host, &token).await.is_none(), "{change}");
        assert!(opens(&rig.host, &known).await.is_some(), "{change}: the other is as it was");
        let undo = "DELETE FROM tokens; INSERT INTO tokens SELECT * FROM kept; DROP TABLE kept";
        connection.execute_batch(undo).unwrap();
    }
    // A whole row of somebody's own, with the seal of another.
    let forged = format!(
        "INSERT INTO tokens SELECT '0000000000000000', 'admin', NULL, '', digest, '', 0, NULL, NULL, seal \
         FROM tokens WHERE id = '{}'",
        known.info.id
    );
    connection.execute_batch(&forged).unwrap();
    let secret = known.token.reveal().rsplit_once('_').unwrap().1;
    assert_eq!(rig.host.check_token(&format!("rf_0000000000000000_{secret}")).await.unwrap(), None);
    assert_eq!(rig.host.tokens().await.unwrap().len(), 2, "it is not listed either");
    rig.host.revoke_token(&"0000000000000000".parse().unwrap()).await.unwrap();
    rig.host.shutdown().await;
}

#[tokio::test]
async fn the_tokens_of_a_plugin_go_with_it_and_it_must_exist() {
    let rig = Rig::new().await;
    let of = |name: &str| NewToken { plugin: Some(name.parse().unwrap()), ..NewToken::new(Role::Operator) };
    assert_eq!(rig.host.create_token(of("p")).await.unwrap_err().code(), ErrorCode::NotFound);
    for name in ["p", "q"] {
        let package = rig.python_package(name, "1.0.0", "", &["ok"], CODE);
        rig.host.install(&package, Consent::Requested).await.unwrap();
    }
    let (p, q) =
        (rig.host.create_token(of("p")).await.unwrap(), rig.host.create_token(of("q")).await.unwrap());
    let all = made(&rig, Role::Operator).await;
    assert_eq!(opens(&rig.host, &p).await.unwrap().plugin.unwrap().as_str(), "p");
    let acting = rig.host.acting_as("token:x", Some("gone".to_owned()));
    acting.uninstall("p", KeepData::No).await.unwrap();
    assert!(opens(&rig.host, &p).await.is_none(), "a later plugin of that name inherits none");
    assert!(opens(&rig.host, &q).await.is_some() && opens(&rig.host, &all).await.is_some());
    let filter = AuditFilter { correlation_id: Some("gone".to_owned()), ..AuditFilter::default() };
    let records = rig.host.audit(&filter, None, 10).await.unwrap().records;
    let events: Vec<_> = records.iter().map(|record| record.event.as_str()).collect();
    assert_eq!(events, ["token_revoke", "uninstall"]);
    assert_eq!((records[0].plugin.as_str(), &records[0].body["id"]), ("p", &p.info.id.as_str().into()));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn who_made_and_revoked_it_is_recorded_and_the_secret_is_nowhere() {
    let rig = Rig::new().await;
    let acting = rig.host.acting_as("cli", Some("made".to_owned()));
    let new = NewToken { name: "for\nci".to_owned(), ..NewToken::new(Role::Admin) };
    let token = acting.create_token(new).await.unwrap();
    acting.revoke_token(&token.info.id).await.unwrap();
    let filter = AuditFilter { correlation_id: Some("made".to_owned()), ..AuditFilter::default() };
    let records = rig.host.audit(&filter, None, 10).await.unwrap().records;
    let seen: Vec<_> = records.iter().map(|record| (record.event.as_str(), &record.body["by"])).collect();
    assert_eq!(seen, [("token_create", &"cli".into()), ("token_revoke", &"cli".into())]);
    assert_eq!(token.info.name, "for\\nci");

    let token = made(&rig, Role::Admin).await;
    assert!(opens(&rig.host, &token).await.is_some());
    let noted = async {
        while rig.host.tokens().await.unwrap()[0].last_used_at_ms.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), noted).await.unwrap();
    let first = rig.host.tokens().await.unwrap()[0].last_used_at_ms;
    for _ in 0..20 {
        assert!(opens(&rig.host, &token).await.is_some());
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.host.tokens().await.unwrap()[0].last_used_at_ms, first, "once a minute at most");
    let secret = token.token.reveal().rsplit_once('_').unwrap().1.to_owned();
    let home = rig.host.home().path().to_owned();
    rig.host.shutdown().await;
    for entry in std::fs::read_dir(home).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{}", path.display());
    }
}

#[tokio::test]
async fn there_is_a_most_and_what_has_expired_long_ago_makes_room() {
    let rig = Rig::new().await;
    let connection = database(&rig);
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                INSERT INTO tokens SELECT printf('%016d', i), 'viewer', NULL, '', x'', '', 0, NULL, NULL, x'' FROM n";
    connection.execute(fill, [TOKENS_MAX - 1]).unwrap();
    let last = made(&rig, Role::Viewer).await;
    let refused = rig.host.create_token(NewToken::new(Role::Viewer)).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Quota);
    assert!(opens(&rig.host, &last).await.is_some());
    connection.execute("UPDATE tokens SET expires_at_ms = 1 WHERE id = '0000000000000001'", []).unwrap();
    made(&rig, Role::Viewer).await;
    rig.host.shutdown().await;
}
