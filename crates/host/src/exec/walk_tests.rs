use super::*;
use ringfence_policy::Vars;

fn pattern(text: &str) -> PathPattern {
    PathPattern::parse(text, &Vars::new(CanonicalPath::root())).unwrap()
}

#[test]
fn only_directories_that_can_hold_a_match_are_looked_into() {
    let made = tempfile::tempdir().unwrap();
    let root = Resolved::find(made.path()).unwrap().path().to_owned();
    std::fs::create_dir_all(root.join("big/deep")).unwrap();
    for number in 0..=ENTRIES_MAX / 100 {
        std::fs::write(root.join("big/deep").join(number.to_string()), "").unwrap();
    }
    std::fs::write(root.join("big/a"), "").unwrap();
    let found = matching(&pattern(&format!("{}/*/a", root.display()))).unwrap();
    assert_eq!(found.iter().map(|found| found.path().to_owned()).collect::<Vec<_>>(), [root.join("big/a")]);
    let error = matching(&pattern(&format!("{}/**/[0-9]*", root.display()))).map(|found| found.len());
    assert_eq!(error.unwrap(), 0, "brackets are plain bytes");
    let error = matching(&pattern(&format!("{}/**/*", root.display()))).unwrap();
    assert_eq!(error.len(), 1, "a directory that matches with all in it is one place");
    let error = matching(&pattern(&format!("{}/*/*/*", root.display()))).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotEnforceable);
    assert!(error.hint().unwrap().contains("DIR/**"));
}

#[test]
fn what_is_at_a_denied_path_is_found_but_devices_are_held_anyway() {
    let made = tempfile::tempdir().unwrap();
    let rule = Rule::parse(Effect::Deny, "file:read=/x", &Vars::new(CanonicalPath::root()), "test").unwrap();
    let at = |path: &Path| existing(path, &rule, FileOp::Read, Access::READ);
    assert!(at(&made.path().join("none")).unwrap().is_none());
    assert!(at(Path::new("/dev/null")).unwrap().is_none(), "mounts are nodev");
    let file = made.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(at(&file).unwrap().is_some());
}
