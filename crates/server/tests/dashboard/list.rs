//! The list of plugins.

use ringfence_api::Role;
use serde_json::json;

use crate::browser::Browser;
use crate::client::{post, request};
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

/// The card of what needs somebody.
fn needs(page: &str) -> Option<&str> {
    let from = page.find("<section class=\"card\" aria-labelledby=\"needs\"")?;
    Some(&page[from..from + page[from..].find("</section>").unwrap()])
}

#[test]
fn what_needs_somebody_comes_first_and_calm_is_said() {
    let rig = Rig::new();
    let mut admin = Browser::with_role(&rig, Role::Admin);
    assert!(!admin.open("/dashboard").contains("Nothing needs you"), "an empty list says what to do");
    rig.active("good", "", &["hi"], "def hi(a):\n    return 1\n");
    let calm = admin.open("/dashboard");
    assert!(calm.contains("Nothing needs you") && needs(&calm).is_none(), "{calm}");

    let waits = rig.package("waits", "1.0.0", "permissions: ['env:read=LANG']\n", &["hi"], "");
    rig.send(&post("/plugins", &json!({"path": waits}))).ok();
    let broken = rig.package("broken", "1.0.0", "", &["hi"], "raise SystemExit('no <b>luck</b>')\n");
    rig.send(&post("/plugins", &json!({"path": broken, "grant_requested": true}))).ok();
    assert!(rig.send(&request("POST", "/plugins/broken/activate")).status >= 400);
    rig.active("older", "", &["hi"], "def hi(a):\n    return 1\n");
    let newer = rig.package("older", "1.1.0", "permissions: ['env:read=LANG']\n", &["hi"], "");
    rig.send(&post("/plugins/older/upgrade", &json!({"path": newer}))).ok();
    rig.active("dies", "", &["hi"], "import os\n\ndef hi(a):\n    os._exit(3)\n");
    rig.send(&post("/plugins/dies/call", &json!({"tool": "hi"})));
    let asks = "from ringfence import host\n\ndef hi(a):\n    for n in range(3):\n        try:\n            host.read_file('/usr/share/x%d' % n)\n        except Exception:\n            pass\n    return 1\n";
    rig.active("nosy", "", &["hi"], asks);
    rig.send(&post("/plugins/nosy/call", &json!({"tool": "hi"}))).ok();

    // The end of a process is recorded when its owner has seen it.
    let page = (0..200)
        .map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            admin.open("/dashboard")
        })
        .find(|page| page.contains("ended unasked"))
        .unwrap();
    let card = needs(&page).unwrap();
    assert!(!page.contains("Nothing needs you") && page.find("id=\"needs\"") < page.find("id=\"plugins\""));
    for part in [
        "errored</span>",
        "/dashboard/plugins/broken\"",
        "/dashboard/plugins/waits/grants\"",
        "waits for consent</span>",
        "/dashboard/plugins/older/grants\"",
        "<bdi>1.1.0</bdi>",
        "/dashboard/plugins/dies/activity\"",
        "ended unasked once in the last day",
        "it exited with status 3",
        "/dashboard/plugins/nosy/denials\"",
        "was refused 3 different acts in the last day",
    ] {
        assert!(card.contains(part), "{part}: {card}");
    }
    assert!(!card.contains("plugins/good") && !card.contains("<b>luck"), "{card}");
    // The number of versions that wait leads to those.
    let upgrades = admin.open("/dashboard?state=upgrade");
    assert!(upgrades.contains("plugins/older\"") && !upgrades.contains("plugins/good\""), "{upgrades}");
    assert!(needs(&upgrades).is_none(), "a list that was narrowed is a list");
    assert!(page.contains("upgrade waits</span>"), "{page}");
    // Whoever sees one plugin is told of that one.
    let (_, token) = rig.token(Role::Viewer, Some("nosy"), None);
    let own = Browser::signed_in(&rig, &token).open("/dashboard");
    let card = needs(&own).unwrap();
    assert!(card.contains("plugins/nosy/denials"), "{card}");
    for other in ["broken", "waits", "older", "dies"] {
        assert!(!card.contains(other), "{other}: {card}");
    }
}

#[test]
fn a_policy_that_cannot_be_used_is_told_first() {
    let rig = Rig::new();
    rig.active("good", "", &["hi"], "def hi(a):\n    return 1\n");
    std::fs::write(rig.path("home").join("policy.toml"), "nonsense = true\n").unwrap();
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    let page = (0..200)
        .map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            viewer.open("/dashboard")
        })
        .find(|page| page.contains("notice warned"))
        .unwrap();
    assert!(page.contains("policy.toml") && !page.contains("Nothing needs you"), "{page}");
}

/// Rows of so many plugins that wait for consent, copied from the one that is called `first`, behind the host's back.
fn many(rig: &Rig, count: usize) {
    let code = "import hashlib, sqlite3, sys\nc = sqlite3.connect(sys.argv[1], timeout=60)\n\
        def copy(of, where, key, other):\n    names = [row[1] for row in c.execute(f'PRAGMA table_info({of})')]\n    \
        row = dict(zip(names, c.execute(f'SELECT * FROM {of} WHERE {where} = ?', (key,)).fetchone()))\n    row.update(other)\n    \
        c.execute(f\"INSERT INTO {of} VALUES ({','.join('?' * len(names))})\", [row[name] for name in names])\n\
        first = c.execute(\"SELECT digest FROM plugins WHERE name = 'first'\").fetchone()[0]\n\
        for n in range(int(sys.argv[2])):\n    name, digest = f'many-{n:04}', hashlib.sha256(str(n).encode()).hexdigest()\n    \
        copy('packages', 'digest', first, {'digest': digest, 'plugin': name})\n    \
        copy('plugins', 'name', 'first', {'name': name, 'digest': digest})\nc.commit()\n";
    let database = rig.path("home").join("state.db");
    let done = std::process::Command::new("python3")
        .args(["-c", code])
        .arg(database)
        .arg(count.to_string())
        .output();
    let done = done.unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn web_08_a_long_list_has_pages_which_are_narrowed_as_the_list_is() {
    let rig = Rig::new();
    let head = "description: One of many.\npermissions: ['env:read=LANG']\n";
    let package = rig.package("first", "1.0.0", head, &["hi"], "");
    rig.send(&post("/plugins", &json!({"path": package}))).ok();
    rig.active("other", "description: Unlike them.\n", &["hi"], "def hi(a):\n    return 1\n");
    many(&rig, 400);
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    let rows = |page: &str| page.matches("<th scope=\"row\">").count();
    let first = viewer.open("/dashboard");
    assert!(first.contains("<strong>402</strong>") && first.contains("<strong>401</strong>"), "{first}");
    assert_eq!(rows(&first), 50);
    assert!(first.contains("Page 1 of 9") && !first.contains("← Previous"), "{first}");
    // What needs somebody is as short as ever.
    let card = needs(&first).unwrap();
    assert_eq!(card.matches("waits for consent</span>").count(), 5, "{card}");
    assert!(card.contains("396 more"), "{card}");
    let mut seen = std::collections::BTreeSet::new();
    for number in 1..=9 {
        let page = viewer.open(&format!("/dashboard?page={number}"));
        assert_eq!(rows(&page), if number == 9 { 2 } else { 50 }, "{number}");
        let list = &page[page.find("<tbody>").unwrap()..];
        let names = list
            .split("href=\"/dashboard/plugins/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().to_owned());
        seen.extend(names);
    }
    assert_eq!(seen.len(), 402, "each stands on one page");
    let last = viewer.open("/dashboard?page=9");
    assert!(last.contains("plugins/other\"") && !last.contains("Next →"), "{last}");
    assert!(
        viewer.open("/dashboard?page=4000000000").contains("Page 9 of 9"),
        "there is nothing behind the last"
    );
    let narrowed = viewer.open("/dashboard?q=many-01&state=installed&page=2");
    assert!(narrowed.contains("Page 2 of 2") && rows(&narrowed) == 50, "{narrowed}");
    assert!(
        narrowed.contains("q=many-01&amp;state=installed&amp;page=1"),
        "the pages of what was narrowed: {narrowed}"
    );
    let by_words = viewer.open("/dashboard?q=unlike");
    assert!(by_words.contains("plugins/other\"") && rows(&by_words) == 1, "{by_words}");
}
