//! The list of plugins.

use ringfence_api::Role;

use crate::browser::Browser;
use crate::rig::Rig;

#[test]
fn an_empty_list_says_what_to_do_next_to_whoever_may() {
    let rig = Rig::new();
    let admin = Browser::with_role(&rig, Role::Admin).open("/dashboard");
    assert!(admin.contains("href=\"/dashboard/install\""), "{admin}");
    let viewer = Browser::with_role(&rig, Role::Viewer).open("/dashboard");
    assert!(viewer.contains("No plugin is installed yet") && !viewer.contains("href=\"/dashboard/install\""));
}

#[test]
fn a_list_is_counted_searched_and_narrowed() {
    let rig = Rig::new();
    rig.active("alpha", "description: Adds notes.\n", &["hi"], "def hi(a):\n    return 1\n");
    let package = rig.package("beta", "1.0.0", "permissions: ['env:read=LANG']\n", &["hi"], "");
    rig.send(&crate::client::post("/plugins", &serde_json::json!({"path": package}))).ok();
    let mut browser = Browser::with_role(&rig, Role::Viewer);
    let all = browser.open("/dashboard");
    assert!(
        all.contains("plugins/alpha\"")
            && all.contains("plugins/beta\"")
            && all.contains("waits for consent")
    );
    let found = browser.open("/dashboard?q=NOTES");
    assert!(found.contains("plugins/alpha\"") && !found.contains("plugins/beta\""));
    let waiting = browser.open("/dashboard/plugins?state=installed");
    assert!(!waiting.contains("plugins/alpha\"") && waiting.contains("plugins/beta\""));
    assert!(browser.open("/dashboard?q=zzz").contains("No plugin is like that"));
    // A query is a stranger's, too.
    let odd = browser
        .open("/dashboard?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E%E2%80%AE%1b&page=99999999999999999999");
    assert!(!odd.contains("<script>alert") && !odd.contains('\u{202e}') && !odd.contains('\u{1b}'), "{odd}");
}

#[test]
fn a_token_of_one_plugin_sees_that_one() {
    let rig = Rig::new();
    rig.active("alpha", "", &["hi"], "def hi(a):\n    return 1\n");
    rig.active("beta", "", &["hi"], "def hi(a):\n    return 1\n");
    let (_, token) = rig.token(Role::Operator, Some("alpha"), None);
    let mut own = Browser::signed_in(&rig, &token);
    let list = own.open("/dashboard");
    assert!(list.contains("plugins/alpha\"") && !list.contains("plugins/beta\""), "{list}");
    assert_eq!(own.get("/dashboard/plugins/beta").status, 403);
    assert_eq!(own.post("/dashboard/plugins/beta/deactivate", &[]).status, 403);
    assert_eq!(own.get("/dashboard/plugins/alpha").status, 200, "the twin");
    assert!(own.act("/dashboard/plugins/alpha/deactivate", &[]).contains("is stopped"), "the twin");
}
