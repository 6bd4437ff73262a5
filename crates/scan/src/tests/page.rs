//! The table of `docs/scan.md`, made from the rules.

use std::fmt::Write as _;

use crate::rule::RULES;

const BEGIN: &str =
    "<!-- Made from crates/scan/src/rule. Renew: RINGFENCE_BLESS=1 cargo test -p ringfence-scan -->\n";
const END: &str = "<!-- end of the table -->\n";

fn table() -> String {
    let mut text =
        "| rule | | what the code does, or the file is | needs | in |\n|---|---|---|---|---|\n".to_owned();
    for rule in RULES {
        let needs = rule.implies.as_ref().map(|name| format!("`{name}`")).unwrap_or_default();
        let languages: Vec<&str> = rule.languages.iter().map(|language| language.as_str()).collect();
        let languages = languages.join(", ");
        writeln!(text, "| `{}` | {} | {} | {needs} | {languages} |", rule.id, rule.severity, rule.why)
            .unwrap();
    }
    text
}

#[test]
fn the_page_has_the_rules_as_they_are() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/scan.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("the beginning of the table");
    let (written, after) = rest.split_once(END).expect("the end of the table");
    let table = format!("\n{}\n", table());
    if std::env::var_os("RINGFENCE_BLESS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(written == table, "docs/scan.md is stale: RINGFENCE_BLESS=1 cargo test -p ringfence-scan");
    for limit in ["1 MiB", "16 MiB", "256 MiB", "20 seconds", "50,000"] {
        assert!(page.contains(limit), "{limit}");
    }
}
