//! The log of a plugin.

use ringfence_api::Role;

use crate::activity::link;
use crate::browser::Browser;
use crate::rig::Rig;

#[test]
fn a_log_is_shown_from_its_end_searched_and_paged() {
    let rig = Rig::new();
    rig.active("quiet", "", &["hi"], "def hi(a):\n    return 1\n");
    let code = "import sys\nfor n in range(250):\n    print('line', n, file=sys.stderr)\n\ndef hi(a):\n    return 1\n";
    rig.active("p", "", &["hi"], code);
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    let mut newest = viewer.open("/dashboard/plugins/p/logs");
    for _ in 0..200 {
        if newest.contains("line 249") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        newest = viewer.open("/dashboard/plugins/p/logs");
    }
    assert!(newest.contains("line 249") && !newest.contains("line 100<"), "{newest}");
    assert!(newest.contains("data-live"), "it is live");
    let older = viewer.open(&link(&newest, "before="));
    assert!(
        older.contains("line 100<") && !older.contains("line 249") && older.contains("Newest"),
        "{older}"
    );
    let found = viewer.open("/dashboard/plugins/p/logs?q=LINE%2017");
    assert!(
        found.contains("line 17<") && found.contains("line 175<") && !found.contains("line 18<"),
        "{found}"
    );
    assert!(viewer.open("/dashboard/plugins/p/logs?q=zzz").contains("No line is like that"));
    assert!(viewer.open("/dashboard/plugins/p/logs?before=1-1").contains("Nothing older is kept"));
    assert_eq!(viewer.get("/dashboard/plugins/nobody/logs").status, 404);
}

#[test]
fn what_a_plugin_writes_is_text_in_its_log() {
    let rig = Rig::new();
    let code = "import sys\nsys.stderr.write('<script>alert(1)</script> \\x1b]52;c;x\\x07 \\u202e end\\n')\n\ndef hi(a):\n    return 1\n";
    rig.active("p", "", &["hi"], code);
    let mut viewer = Browser::with_role(&rig, Role::Viewer);
    let mut shown = String::new();
    for _ in 0..200 {
        shown = viewer.open("/dashboard/plugins/p/logs");
        if shown.contains(" end") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(
        shown.contains("&lt;script&gt;alert(1)&lt;/script&gt; \\u{1b}]52;c;x\\u{7} \\u{202e} end"),
        "{shown}"
    );
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}') && !shown.contains("<script>alert"));
}
