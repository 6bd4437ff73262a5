use ringfence_policy::{Candidate, Effect};

use super::*;

fn home() -> Home {
    Home::at("/srv/ringfence")
}

fn good(text: &str) -> Policy {
    parse(text, "policy.toml", &home()).unwrap_or_else(|findings| panic!("{findings:?}"))
}

fn findings(text: &str) -> Vec<String> {
    parse(text, "policy.toml", &home()).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn every_field_is_read_with_its_place() {
    let text = r#"default = "deny"
deny = ["file:read=~/secrets/**",
        "subprocess:execute"]
allow = ["file:read=**/*.md"]

[limits]
memory = "100MB"
call_timeout = "5s"

[install]
publishers = ["unsigned:Example *"]
blocked_names = ["evil-*"]
blocked_digests = ["0000000000000000000000000000000000000000000000000000000000000000"]
scan_rules = ["invisible-text"]

[quarantine]
denials_per_hour = 7

[[plugins]]
names = ["mail-*", "post"]
deny = ["env:read=HOME"]
limits = { processes = 3 }
"#;
    let policy = good(text);
    let rules: Vec<(String, usize, usize)> =
        policy.rules.iter().map(|rule| (rule.to_string(), rule.place.line, rule.place.column)).collect();
    let has = |text: &str, line, column| {
        rules.iter().any(|rule| rule.0.contains(text) && (rule.1, rule.2) == (line, column))
    };
    assert!(has("secrets/**' (policy.toml:2)", 2, 9), "{rules:?}");
    assert!(has("'deny subprocess:execute' (policy.toml:3)", 3, 9), "{rules:?}");
    assert!(has("'allow file:read=/**/*.md' (policy.toml:4)", 4, 10), "{rules:?}");
    assert!(has("'deny env:read=HOME'", 21, 9), "{rules:?}");
    assert_eq!(policy.default_effect.as_ref().unwrap().value, Effect::Deny);
    assert_eq!(policy.ceilings("post").processes.unwrap().place.line, 22);
    assert_eq!(policy.ceilings("notes").processes, None);
    assert_eq!(policy.ceilings("notes").memory_bytes.unwrap().value, 100_000_000);
    assert_eq!(policy.denials_per_hour.as_ref().unwrap().value, 7);
    assert_eq!(policy.scan_rules[0].value.as_str(), "invisible-text");
    let admit = |name| {
        let publisher = "unsigned:Example Labs";
        policy
            .admit(&Candidate { name, publisher, digest: "" })
            .map_err(|blocked| blocked.place().unwrap().line)
    };
    assert_eq!((admit("notes"), admit("evil-x")), (Ok(()), Err(12)));
    let permitted = |name: &str| policy.for_plugin(name).rules().len();
    assert_eq!((permitted("mail-x"), permitted("post"), permitted("notes")), (4, 4, 3));
}

#[test]
fn all_mistakes_are_told_at_once_with_their_place_and_what_was_meant() {
    let text = "\
dney = []
default = \"maybe\"
deny = [\"file:raed=/srv/**\", \"file:read=notes/**\", \"file:read=${data}/**\", 5, \"env:read=A\", \"env:read=A\"]
allow = \"file:read\"
[limits]
memroy = \"1MB\"
cpu = 0
call_timeout = \"none\"
allow = [\"env:read\"]
[install]
blocked_digests = [\"abc\"]
publishers = []
scan_rules = [\"Not An Id\"]
[[plugins]]
deny = [\"network:request=127.1:80\"]
";
    let found = findings(text);
    let expected = [
        "1:1 unknown field 'dney'; did you mean 'deny'?",
        "2:11 write \"allow\" or \"deny\"",
        "3:9 ",
        "3:30 the path is relative, and to nothing: begin it with /, with ~/ or, for any directory, with **/",
        "3:52 every plugin may use its own data; a policy has no say in that",
        "3:76 expected a list of permissions, such as [\"file:read=/srv/notes/**\"]",
        "3:93 this stands in the list already",
        "4:9 expected a list of permissions, such as [\"file:read=/srv/notes/**\"]",
        "6:1 unknown field 'memroy'; did you mean 'memory'?",
        "7:7 '0' is not a number from 1 to 102400",
        "8:16 this must be bounded: 'none' is not allowed",
        "9:1 'allow' is not a field of this table; write it above the first [table]",
        "11:20 a digest is 64 hexadecimal digits; `ringfence show NAME` prints that of a package",
        "12:14 no publisher is named; leave the line out to take packages of anybody",
        "13:15 the id of a scan rule is 1 to 64 of a-z, 0-9, '-' and '/'",
        "14:1 'names' is missing: which plugins is this about? For example names = [\"mail-*\"]",
        "15:9 '127.1' could be read as more than one address; write four decimal numbers, such as 127.0.0.1",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert!(found[2].contains("did you mean 'file:read'"), "{}", found[2]);
}

#[test]
fn what_says_nothing_is_half_written_and_what_is_no_toml_is_told() {
    for nothing in ["", "# only a comment\n", "\n\n"] {
        assert!(findings(nothing)[0].contains("it says nothing"), "{nothing:?}");
    }
    assert_eq!(findings("deny = [").len(), 1);
    assert!(findings("deny = 1\ndeny = 2\n")[0].starts_with("2:"));
    assert!(findings("default = \"allow\"\n[plugins]\nnames = []\n")[0].contains("[[plugins]]"));
}

#[test]
fn an_allow_rule_that_would_open_the_floor_is_told_as_for_a_grant() {
    let found = findings("allow = [\"file:write=/**\"]\n");
    assert!(found[0].contains("/srv/ringfence") || found[0].contains("protected"), "{found:?}");
    assert_eq!(good("deny = [\"file:write=/**\"]\n").rules.len(), 1, "denying it is no danger");
}

#[test]
fn there_are_bounds_to_entries_and_mistakes() {
    let list = |count: usize, text: &str| {
        let items: Vec<String> = (0..count).map(|number| format!("\"{text}{number}\"")).collect();
        format!("deny = [{}]\n", items.join(","))
    };
    assert_eq!(good(&list(ENTRIES_MAX, "env:read=A")).rules.len(), ENTRIES_MAX);
    assert!(findings(&list(ENTRIES_MAX + 1, "env:read=A"))[0].contains("more than 10000"));
    assert_eq!(findings(&list(500, "nonsense")).len(), 100);
}

#[test]
fn the_template_is_a_policy_that_denies_nothing_and_so_is_each_of_its_lines() {
    let policy = good(template());
    assert!(policy.rules.is_empty() && policy.denials_per_hour.is_none());
    let whole: String = template()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let policy = good(&whole);
    assert!(policy.rules.len() >= 6 && policy.denials_per_hour.is_some(), "{whole}");
    assert!(policy.ceilings("x").data_keys.is_some() && policy.ceilings("x").init_timeout.is_some());
}
