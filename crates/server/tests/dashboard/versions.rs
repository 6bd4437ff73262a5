//! Installing, other versions, and the end of a plugin.

use ringfence_api::Role;
use serde_json::json;

use crate::browser::{Browser, page, value_of};
use crate::client::{get, post, request};
use crate::rig::Rig;

const CODE: &str = "def hi(a):\n    return 1\n";

fn version(rig: &Rig) -> String {
    rig.send(&get("/plugins/p")).ok()["version"].as_str().unwrap().to_owned()
}

#[test]
fn a_package_at_hand_is_installed_and_nothing_of_it_runs_before_consent() {
    let rig = Rig::new();
    let path = rig.package(
        "p",
        "1.0.0",
        "description: Says <b>hi</b>.\npermissions: ['env:read=LANG']\n",
        &["hi"],
        CODE,
    );
    let path = path.to_str().unwrap();
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let offered = admin.open("/dashboard/install");
    assert!(offered.contains(path) && offered.contains("Says &lt;b&gt;hi&lt;/b&gt;."), "{offered}");
    let after = admin.act("/dashboard/plugins", &[("path", path)]);
    assert!(after.contains("It has not run yet") && after.contains("Allow selected"), "{after}");
    let shown = rig.send(&get("/plugins/p")).ok();
    assert_eq!((&shown["state"], &shown["running"]), (&json!("installed"), &json!(false)));
    assert!(admin.open("/dashboard/install").contains("installed</span>"));
}

#[test]
fn nobody_but_an_administrator_installs_and_only_from_where_it_is_allowed() {
    let rig = Rig::new();
    let path = rig.package("p", "1.0.0", "", &["hi"], CODE);
    let path = path.to_str().unwrap();
    for role in [Role::Viewer, Role::Operator] {
        let mut browser = Browser::with_role(&rig, role);
        assert_eq!(browser.get("/dashboard/install").status, 403);
        assert_eq!(browser.post("/dashboard/plugins", &[("path", path)]).status, 403);
    }
    let mut admin = Browser::with_role(&rig, Role::Admin);
    std::fs::create_dir(rig.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink(rig.path("elsewhere"), rig.path("packages/link")).unwrap();
    for (wrong, status) in [
        (rig.path("elsewhere").to_str().unwrap(), 403),
        (rig.path("packages/link").to_str().unwrap(), 403),
        (rig.path("packages/nothing").to_str().unwrap(), 404),
        ("packages/p-1.0.0", 400),
        ("/packages/../etc", 400),
    ] {
        let answer = admin.post("/dashboard/plugins", &[("path", wrong)]);
        assert_eq!(answer.status, status, "{wrong}");
        assert!(page(&answer).contains(&format!("value=\"{wrong}\"")), "what was typed is kept: {wrong}");
    }
    assert_eq!(rig.send(&get("/plugins")).ok(), json!([]));
    admin.act("/dashboard/plugins", &[("path", path)]);
    assert_eq!(version(&rig), "1.0.0", "the twin");
}

#[test]
fn what_lies_in_the_plugin_directories_is_found_and_what_is_broken_is_told() {
    let rig = Rig::new();
    let plugins = rig.path("home").join("plugins");
    std::fs::create_dir_all(plugins.join("bad")).unwrap();
    std::fs::write(plugins.join("bad/plugin.yaml"), "name: '<script>alert(1)</script>'\n").unwrap();
    let package = rig.package("found", "1.0.0", "", &["hi"], CODE);
    std::fs::rename(package, plugins.join("found")).unwrap();
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let answer = admin.post("/dashboard/install/scan", &[]);
    let body = page(&answer);
    assert_eq!(answer.status, 200, "{body}");
    assert!(
        body.contains("ringfence install ") && body.contains("Broken") && !body.contains("<script>alert"),
        "{body}"
    );
}

#[test]
fn a_version_that_asks_for_more_waits_while_the_old_one_runs_on() {
    let rig = Rig::new();
    rig.active("p", "permissions: ['env:read=LANG']\n", &["hi"], CODE);
    let path = rig.package("p", "1.1.0", "permissions: ['env:read=LANG', 'env:read=TZ']\n", &["hi"], CODE);
    let path = path.to_str().unwrap().to_owned();
    for role in [Role::Viewer, Role::Operator] {
        let mut browser = Browser::with_role(&rig, role);
        let shown = browser.open("/dashboard/plugins/p/upgrade");
        assert!(!shown.contains("Upgrade to"), "{shown}");
        assert_eq!(browser.post("/dashboard/plugins/p/upgrade", &[("path", &path)]).status, 403);
        assert_eq!(browser.post("/dashboard/plugins/p/rollback", &[]).status, 403);
    }
    let mut admin = Browser::with_role(&rig, Role::Admin);
    assert!(admin.open("/dashboard/plugins/p/upgrade").contains("Upgrade to"));
    let asked = admin.act("/dashboard/plugins/p/upgrade", &[("path", &path)]);
    for part in [
        "1.0.0 goes on running until you decide",
        "Version 1.1.0 waits for your consent",
        "New in this version",
        "As before",
        "Refuse, and keep version",
        "Decide later",
        "Allow selected and upgrade",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    let new = asked.find("env:read=TZ").unwrap();
    assert!(asked.find("New in this version").unwrap() < new && new < asked.find("As before").unwrap());
    assert_eq!(version(&rig), "1.0.0");
    assert_eq!(rig.send(&get("/plugins/p")).ok()["running"], true, "the old one runs on");
    let form = value_of(&asked, "version").unwrap();
    let after = admin.act(
        "/dashboard/plugins/p/grants",
        &[("version", &form), ("grant", "env:read=LANG"), ("grant", "env:read=TZ")],
    );
    assert!(after.contains("p is version 1.1.0 now"), "{after}");
    assert_eq!(version(&rig), "1.1.0");
    let back = admin.act("/dashboard/plugins/p/rollback", &[]);
    assert!(back.contains("p is version 1.0.0 now, and was 1.1.0"), "{back}");
    assert_eq!(version(&rig), "1.0.0");
}

#[test]
fn a_version_that_waits_is_refused_with_a_button_and_no_other_than_the_one_that_was_seen() {
    let rig = Rig::new();
    rig.active("p", "", &["hi"], CODE);
    let waits = |version: &str| {
        let path = rig.package("p", version, "permissions: ['env:read=TZ']\n", &["hi"], CODE);
        rig.send(&post("/plugins/p/upgrade", &json!({"path": path}))).ok();
    };
    waits("1.1.0");
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let path = "/dashboard/plugins/p/upgrade/abandon";
    let asked = admin.open("/dashboard/plugins/p/grants");
    assert!(asked.contains(&format!("formaction=\"{path}\"")), "{asked}");
    let versions = admin.open("/dashboard/plugins/p/upgrade");
    assert!(versions.contains(&format!("action=\"{path}\"")), "{versions}");
    let form = value_of(&asked, "version").unwrap();
    assert_eq!(value_of(&versions, "version").as_ref(), Some(&form));
    for role in [Role::Viewer, Role::Operator] {
        let mut browser = Browser::with_role(&rig, role);
        assert!(!browser.open("/dashboard/plugins/p/upgrade").contains("Refuse"), "{role}");
        assert_eq!(browser.post(path, &[("version", &form)]).status, 403, "{role}");
    }
    assert_eq!(admin.post_bare(path, &[("version", &form)]).status, 403, "a form of nobody's");
    waits("1.2.0");
    assert_eq!(admin.post(path, &[("version", &form)]).status, 412, "another one waits by now");
    let form = value_of(&admin.open("/dashboard/plugins/p/grants"), "version").unwrap();
    let after = admin.act(path, &[("version", &form), ("grant", "env:read=TZ")]);
    assert!(
        after.contains("The version that waited is refused") && !after.contains("waits: it asks"),
        "{after}"
    );
    let shown = rig.send(&get("/plugins/p")).ok();
    assert_eq!(
        (&shown["pending"], &shown["grants"], &shown["running"]),
        (&json!(null), &json!([]), &json!(true))
    );
    assert_eq!(version(&rig), "1.0.0");
    assert!(!admin.open("/dashboard/plugins/p/grants").contains("Decide later"));
}

#[test]
fn while_a_version_waits_a_single_permission_is_taken_back_and_none_is_given() {
    let rig = Rig::new();
    rig.active("p", "permissions: ['env:read=LANG', 'env:read=TZ']\n", &["hi"], CODE);
    let path = rig.package("p", "1.1.0", "permissions: ['env:read=LANG', 'env:read=HOME']\n", &["hi"], CODE);
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let asked = admin.act("/dashboard/plugins/p/upgrade", &[("path", path.to_str().unwrap())]);
    let form = value_of(&asked, "version").unwrap();
    let grants = || rig.send(&get("/plugins/p/grants")).ok().as_array().unwrap().len();
    let add = [("version", form.as_str()), ("grant", "env:read=USER")];
    assert_eq!(admin.post("/dashboard/plugins/p/grants/add", &add).status, 412);
    let wanted = ("permission", "env:read=USER");
    assert_eq!(admin.post("/dashboard/plugins/p/grants/ask", &[wanted]).status, 412);
    let revoke = [("version", form.as_str()), ("grant", "env:read=TZ")];
    let after = admin.act("/dashboard/plugins/p/grants/revoke", &revoke);
    assert!(after.contains("p has lost env:read=TZ"), "{after}");
    assert_eq!((version(&rig).as_str(), grants()), ("1.0.0", 1), "what waits has not begun");
    // The twin: once it is decided, one more is given.
    let asked = admin.open("/dashboard/plugins/p/grants");
    let form = value_of(&asked, "version").unwrap();
    admin.act("/dashboard/plugins/p/grants", &[("version", &form), ("grant", "env:read=LANG")]);
    assert_eq!(version(&rig), "1.1.0");
    let asked = page(&admin.post("/dashboard/plugins/p/grants/ask", &[wanted]));
    let form = value_of(&asked, "version").unwrap();
    admin.act("/dashboard/plugins/p/grants/add", &[("version", &form), ("grant", "env:read=USER")]);
    assert_eq!(grants(), 2);
}

#[test]
fn a_version_that_does_not_come_up_is_put_back_and_that_is_told() {
    let rig = Rig::new();
    rig.active("p", "", &["hi"], CODE);
    let path = rig.package("p", "1.1.0", "", &["hi"], "raise SystemExit(3)\n");
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let told = admin.act("/dashboard/plugins/p/upgrade", &[("path", path.to_str().unwrap())]);
    assert!(
        told.contains("Version 1.1.0 did not come up, and 1.0.0 is back") && told.contains("notice warned"),
        "{told}"
    );
    assert_eq!(version(&rig), "1.0.0");
    // An older one is taken when that was ticked.
    let old = rig.package("p", "0.9.0", "", &["hi"], CODE);
    let old = old.to_str().unwrap();
    let refused = admin.post("/dashboard/plugins/p/upgrade", &[("path", old)]);
    assert_eq!(refused.status, 400, "{}", page(&refused));
    admin.act("/dashboard/plugins/p/upgrade", &[("path", old), ("allow_downgrade", "yes")]);
    assert_eq!(version(&rig), "0.9.0", "the twin");
}

#[test]
fn a_plugin_is_uninstalled_after_its_name_was_typed() {
    let rig = Rig::new();
    let code = "from ringfence import host\n\ndef save(a):\n    host.store_plugin_data('k', 'kept')\n\ndef load(a):\n    return host.load_plugin_data('k')\n";
    rig.active("p", "", &["save", "load"], code);
    let mut operator = Browser::with_role(&rig, Role::Operator);
    assert_eq!(operator.get("/dashboard/plugins/p/uninstall").status, 403);
    assert_eq!(operator.post("/dashboard/plugins/p/uninstall", &[("name", "p")]).status, 403);
    assert!(!operator.open("/dashboard/plugins/p").contains("Uninstall"));
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let question = admin.open("/dashboard/plugins/p/uninstall");
    assert!(question.contains("Keep its private data") && question.contains("Keep it"));
    for wrong in ["", "q", "P"] {
        assert_eq!(admin.post("/dashboard/plugins/p/uninstall", &[("name", wrong)]).status, 400, "{wrong}");
    }
    assert_eq!(version(&rig), "1.0.0");
    let again = |rig: &Rig| {
        let path = rig.path("packages/p-1.0.0");
        rig.send(&post("/plugins", &json!({"path": path, "grant_requested": true}))).ok();
        rig.send(&request("POST", "/plugins/p/activate")).ok();
        rig.send(&post("/plugins/p/call", &json!({"tool": "load"}))).ok()["result"].clone()
    };
    rig.send(&post("/plugins/p/call", &json!({"tool": "save"}))).ok();
    let after = admin.act("/dashboard/plugins/p/uninstall", &[("name", " p "), ("keep_data", "yes")]);
    assert!(after.contains("p is uninstalled"), "{after}");
    assert_eq!(rig.send(&get("/plugins/p")).status, 404);
    assert_eq!(again(&rig), json!("kept"));
    admin.act("/dashboard/plugins/p/uninstall", &[("name", "p")]);
    assert_eq!(again(&rig), json!(null), "the twin: not kept");
}

#[test]
fn pkg_18_a_version_by_another_publisher_says_whose_it_is() {
    let rig = Rig::new();
    rig.active("p", "author: ada\n", &["hi"], CODE);
    let package = |version: &str, author: &str| {
        let path = rig.package("p", version, &format!("author: {author}\n"), &["hi"], CODE);
        path.to_str().unwrap().to_owned()
    };
    let mut admin = Browser::with_role(&rig, Role::Admin);
    let bare = |page: &str| page.replace("<bdi>", "").replace("</bdi>", "");
    let asked = admin.act("/dashboard/plugins/p/upgrade", &[("path", &package("1.1.0", "eve"))]);
    for part in [
        "by another publisher, unsigned:eve instead of unsigned:ada",
        "eve (not signed) instead of ada (not signed)",
    ] {
        assert!(bare(&asked).contains(part), "{part}: {asked}");
    }
    for page in ["/dashboard/plugins/p", "/dashboard/plugins/p/upgrade"] {
        let shown = bare(&admin.open(page));
        assert!(
            shown.contains("it is by another publisher, eve (not signed) instead of ada"),
            "{page}: {shown}"
        );
    }
    let change = json!({"from_publisher": "unsigned:ada", "to_publisher": "unsigned:eve"});
    assert_eq!(rig.send(&get("/plugins/p")).ok()["pending"]["publisher_change"], change);
    assert_eq!(version(&rig), "1.0.0");
    let form = value_of(&asked, "version").unwrap();
    assert!(
        admin.act("/dashboard/plugins/p/grants", &[("version", &form)]).contains("p is version 1.1.0 now")
    );
    // The twin: the next one by the same publisher asks nobody.
    let next = admin.act("/dashboard/plugins/p/upgrade", &[("path", &package("1.2.0", "eve"))]);
    assert!(next.contains("p is version 1.2.0 now") && !next.contains("another publisher"), "{next}");
}
