//! What plugins were asked, of all and of one.

use ringfence_api::Role;
use serde_json::json;

use crate::browser::Browser;
use crate::client::post;
use crate::rig::Rig;

const CODE: &str = "def hi(a):\n    return 'hi'\n\ndef ho(a):\n    raise ValueError('no')\n";

fn call(rig: &Rig, plugin: &str, tool: &str) {
    rig.send(&post(&format!("/plugins/{plugin}/call"), &json!({"tool": tool})));
}

#[test]
fn calls_are_listed_searched_and_paged_from_the_last_one() {
    let rig = Rig::new();
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    assert!(viewer.open("/dashboard/activity").contains("No plugin has been asked anything yet"));
    rig.active("alpha", "", &["hi", "ho"], CODE);
    call(&rig, "alpha", "ho");
    for _ in 0..60 {
        call(&rig, "alpha", "hi");
    }
    let first = viewer.open("/dashboard/activity");
    assert_eq!(first.matches("plugins/alpha\"").count(), 50, "{first}");
    assert!(!first.contains("<bdi>ho</bdi>") && first.contains("Older"));
    let older = link(&first, "before=");
    let second = viewer.open(&older);
    assert!(
        second.contains("<bdi>ho</bdi>") && second.contains("Newest") && !second.contains("Older"),
        "{second}"
    );
    let failed = viewer.open("/dashboard/activity?outcome=failed");
    assert!(failed.contains("<bdi>ho</bdi>") && !failed.contains("<bdi>hi</bdi>"), "{failed}");
    let found = viewer.open("/dashboard/activity?q=ALPHA%20HO");
    assert!(found.contains("<bdi>ho</bdi>") && !found.contains("<bdi>hi</bdi>"), "{found}");
    // What stands for anything elsewhere stands for itself here.
    for none in ["zzz", "%25", "al_ha", "alpha%25hi", "%5C"] {
        let body = viewer.open(&format!("/dashboard/activity?q={none}"));
        assert!(body.contains("Nothing recorded is like that"), "{none}: {body}");
    }
    let request = link(&failed, "request=");
    assert!(viewer.open(&request).contains("Only of the request"));
    let odd = viewer.open("/dashboard/activity?q=%3Cscript%3E%E2%80%AE&before=-1&outcome=%22%3E&request=%00");
    assert!(!odd.contains("<script>") && !odd.contains('\u{202e}') && !odd.contains('\0'), "{odd}");
}

/// The first link with this in its query.
pub(crate) fn link(page: &str, with: &str) -> String {
    let found = page
        .split("href=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .find(|to| to.contains(with));
    found.unwrap_or_else(|| panic!("no {with} in {page}")).replace("&amp;", "&")
}

#[test]
fn a_token_of_one_plugin_sees_what_that_one_was_asked_whatever_it_asks_for() {
    let rig = Rig::new();
    rig.active("alpha", "", &["hi", "ho"], CODE);
    rig.active("beta", "", &["hi", "ho"], CODE);
    call(&rig, "alpha", "hi");
    call(&rig, "beta", "ho");
    let (_, token) = rig.token(Role::Viewer, Some("alpha"), None);
    let mut own = Browser::signed_in(&rig, &token);
    for path in ["/dashboard/activity", "/dashboard/activity?plugin=beta", "/dashboard/activity?q=beta"] {
        assert!(!own.open(path).contains("plugins/beta"), "{path}");
    }
    assert!(own.open("/dashboard/activity").contains("plugins/alpha\""));
    assert_eq!(own.get("/dashboard/plugins/beta/activity").status, 403);
    assert_eq!(own.get("/dashboard/plugins/beta/logs").status, 403);
    assert_eq!(own.get("/dashboard/plugins/alpha/activity").status, 200, "the twin");
    let all = Browser::with_role(&rig, Role::Viewer).open("/dashboard/activity");
    assert!(all.contains("plugins/alpha\"") && all.contains("plugins/beta\""), "the twin");
}

#[test]
fn what_was_done_to_a_plugin_stands_in_its_activity() {
    let rig = Rig::new();
    rig.active("alpha", "", &["hi", "ho"], CODE);
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    let shown = viewer.open("/dashboard/plugins/alpha/activity");
    for event in ["install", "consent", "activate", "start"] {
        assert!(shown.contains(&format!("<bdi>{event}</bdi>")), "{event}: {shown}");
    }
    for _ in 0..60 {
        call(&rig, "alpha", "hi");
    }
    let newest = viewer.open("/dashboard/plugins/alpha/activity");
    assert!(!newest.contains("<bdi>install</bdi>"));
    let older = viewer.open(&link(&newest, "before="));
    assert!(older.contains("<bdi>install</bdi>"), "{older}");
    assert_eq!(viewer.get("/dashboard/plugins/nobody/activity").status, 404);
}
