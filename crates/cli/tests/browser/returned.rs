//! Pages that no link leads to: what comes of a form, with and without a mistake in it. They are judged as all others are.

use serde_json::json;

use crate::scene::Scene;

/// A form, what is sent with it, and the heading of the page that comes of it. `@` is what somebody typed.
pub(crate) struct Sent {
    name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) fields: &'static [(&'static str, &'static str)],
    heading: &'static str,
}

const fn sent(
    name: &'static str,
    path: &'static str,
    fields: &'static [(&'static str, &'static str)],
    heading: &'static str,
) -> Sent {
    Sent { name, path, fields, heading }
}

/// All of them, about the plugins of a furnished scene.
pub(crate) const ALL: [Sent; 17] = [
    sent(
        "one-permission",
        "/plugins/keeper/grants/ask",
        &[("permission", "file:read=/usr/share/@")],
        "keeper",
    ),
    sent("no-permission", "/plugins/keeper/grants/ask", &[("permission", "@")], "Not accepted"),
    sent("all-ticked", "/plugins/waits/grants", &[("tick", "all"), ("more", "@")], "waits"),
    sent("consent-with-a-mistake", "/plugins/waits/grants", &[("more", "@")], "waits"),
    sent(
        "consent-too-late",
        "/plugins/keeper/grants",
        &[("version", "\"0\""), ("more", "env:read=@")],
        "keeper",
    ),
    sent("revoked-nothing", "/plugins/keeper/grants/revoke", &[("grant", "@")], "Not accepted"),
    sent(
        "configuration-with-a-mistake",
        "/plugins/keeper/config",
        &[("value:/language", "@"), ("value:/key", "@")],
        "keeper",
    ),
    sent("configuration-with-no-json", "/plugins/keeper/config", &[("whole", "@")], "keeper"),
    sent("install-with-a-mistake", "/plugins", &[("path", "@")], "Install a plugin"),
    sent("scanned", "/install/scan", &[], "Install a plugin"),
    sent("upgrade-with-a-mistake", "/plugins/keeper/upgrade", &[("path", "@")], "keeper"),
    sent("no-upgrade-waits", "/plugins/keeper/upgrade/abandon", &[], "Not found"),
    sent("uninstall-another", "/plugins/keeper/uninstall", &[("name", "@")], "Not accepted"),
    sent("activate-nobody", "/plugins/nobody/activate", &[], "Not found"),
    sent("new-token", "/tokens", &[("role", "viewer"), ("life", "3600")], "A new token"),
    sent("token-with-a-mistake", "/tokens", &[("role", "@"), ("plugin", "@"), ("life", "@")], "Tokens"),
    sent("verified", "/audit/verify", &[], "Audit"),
];

impl Sent {
    /// Sends it from a page of this session, and waits for what comes.
    pub(crate) fn send(&self, scene: &Scene, typed: &str) {
        scene.open("/dashboard/plugins/keeper");
        let fields: Vec<(&str, String)> =
            self.fields.iter().map(|(name, value)| (*name, value.replace('@', typed))).collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        scene.send(&format!("/dashboard{}", self.path), &fields);
    }
}

#[test]
fn every_page_that_an_act_gives_runs_nothing_strange_hinders_nobody_and_fits_a_phone() {
    let Some(scene) = Scene::new() else { return };
    let Some(axe) = crate::axe::script() else { return };
    scene.furnish();
    scene.sign_in();
    let mut wrong = Vec::new();
    for one in &ALL {
        let expected = |heading: &str| {
            heading.split([' ', '\u{a0}']).next() == Some(one.heading) || heading == one.heading
        };
        // Long, and without a place to break it.
        let typed = "what-somebody-has-typed".repeat(8);
        wrong.extend(crate::walk::judged_after(
            &scene,
            &format!("act-{}", one.name),
            &|| one.send(&scene, &typed),
            &expected,
            &axe,
        ));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(scene.chromium.ran(), json!([]));
}
