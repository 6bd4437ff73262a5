//! Tokens: made and shown once, listed, revoked.

use ringfence_api::Role;

use crate::browser::{Browser, page};
use crate::client::get;
use crate::rig::Rig;

const HOUR: [(&str, &str); 3] = [("role", "operator"), ("plugin", ""), ("life", "3600")];

fn count(rig: &Rig) -> usize {
    rig.send(&get("/tokens")).ok().as_array().unwrap().len()
}

fn text_of(shown: &str) -> String {
    let at = shown.find("rf_").unwrap_or_else(|| panic!("no token in {shown}"));
    shown[at..].split('<').next().unwrap().to_owned()
}

#[test]
fn a_token_is_shown_once_opens_what_it_says_and_is_revoked() {
    let rig = Rig::new();
    rig.active("p", "", &["hi"], "def hi(a):\n    return 1\n");
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let made = admin.post("/dashboard/tokens", &[("role", "operator"), ("plugin", "p"), ("life", "3600")]);
    assert_eq!(made.status, 200, "{}", page(&made));
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let token = text_of(&page(&made));
    let id = token.split('_').nth(1).unwrap().to_owned();
    let list = admin.open("/dashboard/tokens");
    assert!(list.contains(&id) && !list.contains(&token), "it is shown once");
    let opened = rig.send_as(&token, &get("/plugins/p"));
    assert_eq!(opened.status, 200);
    assert!(Browser::signed_in(&rig, &token).open("/dashboard").contains("operator, p only"));
    assert!(list.contains(&format!("/dashboard/tokens/{id}/revoke")));
    let gone = admin.act(&format!("/dashboard/tokens/{id}/revoke"), &[]);
    assert!(
        gone.contains("opens nothing any more") && !gone.contains(&format!("tokens/{id}/revoke")),
        "{gone}"
    );
    assert_eq!(rig.send_as(&token, &get("/plugins/p")).status, 401);
    assert_eq!(admin.post(&format!("/dashboard/tokens/{id}/revoke"), &[]).status, 404);
}

#[test]
fn what_is_wrong_is_told_beside_the_form_and_makes_nothing() {
    let rig = Rig::new();
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let before = count(&rig);
    for (field, value) in [
        ("role", "root"),
        ("role", ""),
        ("plugin", "No Such"),
        ("plugin", "\"><script>"),
        ("life", "soon"),
        ("life", ""),
    ] {
        let fields: Vec<(&str, &str)> =
            HOUR.iter().map(|(name, good)| (*name, if *name == field { value } else { *good })).collect();
        let answer = admin.post("/dashboard/tokens", &fields);
        let shown = page(&answer);
        assert!((400..500).contains(&answer.status), "{field}={value}: {}", answer.status);
        assert!(
            shown.contains("role=\"alert\"") && shown.contains("Make a token") && !shown.contains("<script>"),
            "{field}: {shown}"
        );
    }
    assert_eq!(count(&rig), before);
    assert_eq!(admin.post_bare("/dashboard/tokens", &HOUR).status, 403);
    assert_eq!(count(&rig), before, "a form that this session has not made");
    let endless = admin.post("/dashboard/tokens", &[("role", "viewer"), ("plugin", ""), ("life", "0")]);
    assert!(page(&endless).contains("when revoked"), "the twin");
    assert_eq!(count(&rig), before + 1);
}

#[test]
fn tokens_are_for_administrators_of_the_whole_host() {
    let rig = Rig::new();
    rig.active("p", "", &["hi"], "def hi(a):\n    return 1\n");
    let (id, token) = rig.token(Role::Admin, Some("p"), None);
    let known = count(&rig);
    let mut others = [
        Browser::with_role(&rig, Role::Viewer),
        Browser::with_role(&rig, Role::Operator),
        Browser::signed_in(&rig, &token),
    ];
    for other in &mut others {
        assert_eq!(other.get("/dashboard/tokens").status, 403);
        assert_eq!(other.post("/dashboard/tokens", &HOUR).status, 403);
        assert_eq!(other.post(&format!("/dashboard/tokens/{id}/revoke"), &[]).status, 403);
        assert!(!other.open("/dashboard").contains("href=\"/dashboard/tokens\""));
    }
    assert_eq!(count(&rig), known + 2, "those of the two roles");
    let mut admin = Browser::with_role(&rig, Role::Admin);
    assert!(admin.open("/dashboard/tokens").contains(&id), "the twin");
    assert!(admin.open("/dashboard").contains("href=\"/dashboard/tokens\""));
}
