//! axe-core, from npm, in exactly this version: what hinders people who do not see a page, or use no mouse.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::driver::Chromium;
use crate::outside::{installed, run};

const PACKAGE: &str = "axe-core@4.10.3";

/// Its script; `None` where it cannot be had, which is said.
pub(crate) fn script() -> Option<String> {
    if ringfence_testkit::lacks("npm") {
        return None;
    }
    let place: PathBuf = installed(PACKAGE, |place| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(place);
        run("npm-packages", npm.arg(PACKAGE))
    })?;
    Some(std::fs::read_to_string(place.join("node_modules/axe-core/axe.min.js")).unwrap())
}

/// What is serious or critical on the page that is open.
pub(crate) fn findings(chromium: &Chromium, axe: &str) -> Vec<String> {
    chromium.eval(&format!("{axe}\n; typeof window.axe"));
    let found = chromium.eval(
        "axe.run(document).then((all) => all.violations.filter((one) => ['serious', 'critical'].includes(one.impact))\
         .map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html).join(' | ')}`))",
    );
    let texts = found.as_array().unwrap_or_else(|| panic!("{found}")).iter();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}
