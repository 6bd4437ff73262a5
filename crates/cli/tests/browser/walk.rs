//! Every page that a link leads to: it opens, nothing runs on it that is not ours, it hinders nobody, it fits a phone, and a
//! picture of it is kept.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::driver::{Chromium, Looks};
use crate::scene::Scene;

/// Pages that must be found, wherever the walk comes to them. What else is linked is looked at, too.
const PAGES: [&str; 11] = [
    "/dashboard",
    "/dashboard/install",
    "/dashboard/sessions",
    "/dashboard/hooks",
    "/dashboard/activity",
    "/dashboard/runs",
    "/dashboard/audit",
    "/dashboard/tokens",
    "/dashboard/plugins/keeper",
    "/dashboard/plugins/keeper/activity",
    "/dashboard/plugins/keeper/logs",
];

/// Where pictures are kept.
fn pictures() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    std::fs::create_dir_all(&place).unwrap();
    place
}

/// Paths of the dashboard that the page links to.
fn links(chromium: &Chromium) -> Vec<String> {
    let found = chromium.eval(
        "[...document.querySelectorAll('a[href]')].map((one) => new URL(one.href)).filter((one) => one.origin === location.origin)\
         .map((one) => one.pathname + one.search)",
    );
    found.as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Pages that differ in what they are about alone have one shape; of each, two are walked.
fn shape(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts = path.split('/').enumerate().map(|(index, part)| match (index, part) {
        (3, name) if path.starts_with("/dashboard/plugins/") && !name.is_empty() => "{name}",
        (_, part) if part.len() > 8 && part.bytes().all(|byte| byte.is_ascii_hexdigit()) => "{id}",
        (_, part) if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) => "{id}",
        (_, part) => part,
    });
    let names = query.split('&').filter_map(|pair| pair.split('=').next()).collect::<Vec<_>>().join("&");
    format!("{}?{names}", parts.collect::<Vec<_>>().join("/"))
}

/// All pages that links lead to, from the list of plugins on.
pub(crate) fn walked(scene: &Scene) -> Vec<String> {
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut waiting = VecDeque::from(["/dashboard".to_owned(), "/dashboard/plugins/keeper".to_owned()]);
    let mut all = Vec::new();
    while let Some(path) = waiting.pop_front() {
        let alike = seen.entry(shape(&path)).or_default();
        let bare = path.split('#').next().unwrap().to_owned();
        if alike.len() >= 2 || alike.contains(&bare) || path.contains("/static/") {
            continue;
        }
        alike.push(bare.clone());
        scene.open(&bare);
        waiting.extend(links(&scene.chromium));
        all.push(bare);
    }
    all
}

/// Whether the page is wider than the window.
fn overflow(chromium: &Chromium) -> Value {
    chromium.eval(
        "document.documentElement.scrollWidth <= innerWidth ? null : [...document.querySelectorAll('body *')]\
         .filter((one) => one.getBoundingClientRect().right > innerWidth + 1).slice(0, 3).map((one) => one.outerHTML.slice(0, 200))",
    )
}

#[test]
fn every_page_opens_runs_nothing_strange_hinders_nobody_and_fits_a_phone() {
    let Some(scene) = Scene::new() else { return };
    let Some(axe) = crate::axe::script() else { return };
    scene.furnish();
    scene.sign_in();
    let all = walked(&scene);
    for page in PAGES {
        assert!(all.iter().any(|path| path == page), "no link leads to {page}: {all:?}");
    }
    let mut wrong = Vec::new();
    for path in &all {
        wrong.extend(judged(&scene, path, &axe));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn judged(scene: &Scene, path: &str, axe: &str) -> Vec<String> {
    let name: String = path
        .trim_start_matches('/')
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(80)
        .collect();
    judged_after(
        scene,
        &name,
        &|| scene.open(path),
        &|heading| !["Not found", "Something is wrong here"].contains(&heading),
        axe,
    )
}

/// What is wrong with the page that comes of this, in every way to look at it. Its one heading must be as it is expected.
pub(crate) fn judged_after(
    scene: &Scene,
    name: &str,
    come: &dyn Fn(),
    expected: &dyn Fn(&str) -> bool,
    axe: &str,
) -> Vec<String> {
    let chromium = &scene.chromium;
    let mut wrong = Vec::new();
    for looks in Looks::ALL {
        chromium.look(looks);
        come();
        let at = format!("{name} {}", looks.words());
        let heading = chromium
            .eval("document.querySelectorAll('h1').length === 1 && document.querySelector('h1').innerText");
        if !heading.as_str().is_some_and(expected) {
            wrong.push(format!("{at}: its heading is {heading}"));
        }
        if chromium.ran() != json!([]) {
            wrong.push(format!("{at}: {}", chromium.ran()));
        }
        let wide = overflow(chromium);
        if !wide.is_null() {
            wrong.push(format!("{at}: it is wider than the window: {wide}"));
        }
        wrong.extend(
            crate::axe::findings(chromium, axe).into_iter().map(|finding| format!("{at}: {finding}")),
        );
        chromium.picture(&pictures().join(format!("{name}-{}.png", looks.words())));
    }
    chromium.look(Looks { phone: false, dark: false });
    wrong
}

#[test]
fn a_page_with_nothing_on_it_says_what_to_do_next_and_a_stranger_is_asked_in() {
    let Some(scene) = Scene::new() else { return };
    let Some(axe) = crate::axe::script() else { return };
    let mut wrong = judged(&scene, "/dashboard/login", &axe);
    scene.sign_in();
    for path in
        ["/dashboard", "/dashboard/hooks", "/dashboard/activity", "/dashboard/runs", "/dashboard/tokens"]
    {
        scene.open(path);
        let empty = scene.chromium.eval("document.querySelectorAll('.empty').length");
        assert_eq!(empty, 1, "{path}");
        wrong.extend(judged(&scene, path, &axe).into_iter().map(|finding| format!("empty {finding}")));
        for looks in Looks::ALL {
            let name = format!("{}-{}.png", path.trim_start_matches('/').replace('/', "-"), looks.words());
            std::fs::rename(pictures().join(&name), pictures().join(format!("empty-{name}"))).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
