use super::*;

/// A directory of the host with `a/b/secret`, `a/open`, `c/tool` and the link `link` to `a/b/secret`.
fn tree() -> (tempfile::TempDir, PathBuf) {
    let made = tempfile::tempdir().unwrap();
    let root = Resolved::find(made.path()).unwrap().path().to_owned();
    for directory in ["a/b", "c"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in ["a/b/secret", "a/open", "c/tool"] {
        std::fs::write(root.join(file), "x").unwrap();
    }
    std::os::unix::fs::symlink("a/b/secret", root.join("link")).unwrap();
    (made, root)
}

/// Lays out `+PERMISSION` and `-PERMISSION`, with `ROOT` standing for the tree.
fn laid(root: &Path, rules: &[&str]) -> Result<(Places, Vec<String>), Error> {
    laid_with(root, rules, Vars::new(CanonicalPath::root()))
}

fn laid_with(root: &Path, rules: &[&str], vars: Vars) -> Result<(Places, Vec<String>), Error> {
    let parse = |text: &&str| {
        let effect = if text.starts_with('+') { Effect::Allow } else { Effect::Deny };
        let text = text[1..].replace("ROOT", root.to_str().unwrap());
        Rule::parse(effect, &text, &vars, "test").unwrap()
    };
    lay_out(&RuleSet::new(rules.iter().map(parse).collect()), Missing::Refused, &vars)
}

/// The same where `own`, below the tree, is a plugin's own directory.
fn laid_beside_own(root: &Path, own: &str, rules: &[&str]) -> Places {
    let vars = Vars::new(CanonicalPath::root());
    let parse = |text: &&str| {
        let effect = if text.starts_with('+') { Effect::Allow } else { Effect::Deny };
        Rule::parse(effect, &text[1..].replace("ROOT", root.to_str().unwrap()), &vars, "test").unwrap()
    };
    let own = CanonicalPath::new(root.join(own)).unwrap();
    let set = RuleSet::new(rules.iter().map(parse).collect()).with_own([&own]);
    lay_out(&set, Missing::Refused, &vars).unwrap().0
}

/// `path:rwdx` for each mount, `path:-` for what is covered, paths from the tree's root.
fn shown(root: &Path, rules: &[&str]) -> Vec<String> {
    let (places, _) = laid(root, rules).unwrap();
    text(root, &places)
}

fn text(root: &Path, places: &Places) -> Vec<String> {
    let short = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
    let mounts = places.shown.iter().map(|(path, (_, access))| {
        let mut letters = String::new();
        for (set, letter) in
            [(access.read, 'r'), (access.write, 'w'), (access.delete, 'd'), (access.execute, 'x')]
        {
            letters.extend(set.then_some(letter));
        }
        format!("{}:{letters}", short(path))
    });
    mounts.chain(places.hidden.keys().map(|path| format!("{}:-", short(path)))).collect()
}

fn refused(root: &Path, rules: &[&str]) -> String {
    let error = laid(root, rules).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotEnforceable, "{error}");
    error.message().to_owned()
}

#[test]
fn grants_of_one_place_add_up_and_files_stand_alone() {
    let (_made, root) = tree();
    assert_eq!(shown(&root, &["+file:read=ROOT/**"]), [":r"]);
    assert_eq!(shown(&root, &["+file:read=ROOT/**", "+file:write=ROOT/**"]), [":rw"]);
    assert_eq!(shown(&root, &["+file:read=ROOT/a/open"]), ["a/open:r"]);
    assert_eq!(shown(&root, &["+file:read=ROOT/a/**", "+file:write=ROOT/a/open"]), ["a:r", "a/open:rw"]);
    assert_eq!(shown(&root, &["+env:read", "+subprocess:execute=ROOT/**"]), [""; 0], "not about files");
}

#[test]
fn wildcards_show_files_and_whole_directories_but_no_links() {
    let (_made, root) = tree();
    assert_eq!(shown(&root, &["+file:read=ROOT/*/*"]), ["a/open:r", "c/tool:r"]);
    assert_eq!(shown(&root, &["+file:read=ROOT/*/**"]), ["a:r", "c:r"]);
    assert_eq!(shown(&root, &["+file:read=ROOT/**/s*"]), ["a/b/secret:r"]);
    assert_eq!(shown(&root, &["+file:read=ROOT/l*"]), [""; 0], "a link is not followed by a wildcard");
    assert!(refused(&root, &["+file:write=ROOT/*/x"]).contains("whole directories"));
}

#[test]
fn what_is_denied_is_covered_also_by_way_of_a_link() {
    let (_made, root) = tree();
    let all = "+file:read=ROOT/**";
    assert_eq!(shown(&root, &[all, "-file:read=ROOT/a/b/**"]), [":r", "a/b:-"]);
    assert_eq!(shown(&root, &[all, "-file:read=ROOT/**/secret"]), [":r", "a/b/secret:-"]);
    assert_eq!(shown(&root, &[all, "-file:read=ROOT/li*"]), [":r", "a/b/secret:-"]);
    assert_eq!(shown(&root, &[all, "-file:read=ROOT/none/**"]), [":r"], "nothing is there to cover");
    assert_eq!(shown(&root, &[all, "-file:write=ROOT/a/**"]), [":r"], "it could not be written anyway");
    assert_eq!(shown(&root, &[all, "-file:read=ROOT/**"]), [""; 0]);
}

#[test]
fn a_directory_of_a_matching_name_is_denied_as_a_whole_and_granted_for_what_matches_in_it() {
    let (_made, root) = tree();
    std::fs::create_dir(root.join("x.key")).unwrap();
    std::fs::write(root.join("x.key/y.key"), "x").unwrap();
    let rules = ["+file:read=ROOT/**", "-file:read=ROOT/**/*.key"];
    assert_eq!(shown(&root, &rules), [":r", "x.key:-"]);
    assert_eq!(shown(&root, &["+file:read=ROOT/**/*.key"]), ["x.key/y.key:r"]);
}

#[test]
fn what_may_not_be_changed_is_read_only_and_cannot_be_moved_away() {
    let (_made, root) = tree();
    let (read, write, delete) = ("+file:read=ROOT/**", "+file:write=ROOT/**", "+file:delete=ROOT/**");
    let rules = [read, write, delete, "-file:write=ROOT/a/b/**"];
    assert_eq!(shown(&root, &rules), [":rwd", "a:rwd", "a/b:r"]);
    let rules = [read, write, delete, "-file:delete=ROOT/a/b/secret"];
    assert_eq!(shown(&root, &rules), [":rwd", "a:rwd", "a/b:rwd", "a/b/secret:r"]);
    let rules = [read, write, "-file:write=ROOT/a/b/**", "-file:read=ROOT/a/b/**"];
    assert_eq!(shown(&root, &rules), [":rw", "a:rw", "a/b:-"]);
}

#[test]
fn a_place_granted_by_name_has_no_more_than_the_denials_leave() {
    let (_made, root) = tree();
    let rules = [
        "+file:read=ROOT/**",
        "+file:write=ROOT/**",
        "+file:delete=ROOT/**",
        "+file:delete=ROOT/a/**",
        "-file:write=ROOT/a/**",
    ];
    assert_eq!(shown(&root, &rules), [":rwd", "a:r"], "Landlock would let the outer right reach it");
}

#[test]
fn denials_that_no_mount_can_hold_are_refused() {
    let (_made, root) = tree();
    let (read, write) = ("+file:read=ROOT/**", "+file:write=ROOT/**");
    assert!(refused(&root, &[read, write, "-file:write=ROOT/none"]).contains("could be made"));
    assert!(refused(&root, &[read, write, "-file:write=ROOT/**/*.sh"]).contains("made later"));
    assert_eq!(shown(&root, &[read, write, "-file:delete=ROOT/none"]), [":rw"], "nothing may be deleted");
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    assert_eq!(
        shown(&root, &[read, "-file:read=ROOT/socket"]),
        [":r"],
        "read-only mounts take no connection"
    );
    assert!(refused(&root, &[read, write, "-file:read=ROOT/socket"]).contains("cannot be covered"));
}

/// What is denied is a name: a program that may write beside a link could put a directory of its own in its place.
#[test]
fn what_is_denied_is_held_from_the_outermost_grant_on() {
    let (_made, root) = tree();
    let outer = ["+file:read=ROOT/**", "+file:write=ROOT/**", "+file:delete=ROOT/**"];
    let inner = ["+file:read=ROOT/a/b/**", "+file:write=ROOT/a/b/**", "+file:delete=ROOT/a/b/**"];
    let denied = "-file:write=ROOT/a/b/secret";
    let with = |more: &[&'static str]| [&outer[..], more, &[denied]].concat();
    // `a` is a mount of its own: whoever renamed it would take the inner grant along.
    assert_eq!(shown(&root, &with(&inner)), [":rwd", "a:rwd", "a/b:rwd", "a/b/secret:r"]);
    assert_eq!(shown(&root, &with(&inner[..1])), [":rwd", "a:rwd", "a/b:rwd", "a/b/secret:r"]);
    assert_eq!(shown(&root, &[&outer[..], &inner].concat()), [":rwd", "a/b:rwd"], "nothing is denied");
}

#[test]
fn a_denied_name_that_is_a_link_in_a_writable_tree_is_refused() {
    let (_made, root) = tree();
    let (read, write, delete) = ("+file:read=ROOT/**", "+file:write=ROOT/**", "+file:delete=ROOT/**");
    std::os::unix::fs::symlink("c", root.join("dir")).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("dangling")).unwrap();
    std::os::unix::fs::symlink("circle", root.join("circle")).unwrap();
    for denied in [
        "-file:write=ROOT/dir/**",
        "-file:write=ROOT/dir/tool",
        "-file:write=ROOT/dangling/**",
        "-file:write=ROOT/link",
    ] {
        assert!(refused(&root, &[read, write, delete, denied]).contains("is a link"), "{denied}");
    }
    assert!(refused(&root, &[read, write, delete, "-file:delete=ROOT/dir/**"]).contains("is a link"));
    // By way of a link elsewhere that leads into the tree.
    let elsewhere = tempfile::tempdir().unwrap();
    let by = elsewhere.path().join("by");
    std::os::unix::fs::symlink(&root, &by).unwrap();
    let denied = format!("-file:write={}/dir/**", by.display());
    assert!(refused(&root, &[read, write, delete, &denied]).contains("is a link"));
    // Where nothing may be changed, or only reading is denied, the link stays what it is.
    assert_eq!(shown(&root, &[read, "-file:write=ROOT/dir/**"]), [":r"]);
    assert_eq!(shown(&root, &[read, write, "-file:read=ROOT/dir/**"]), [":rw", "c:-"]);
    assert!(refused(&root, &[read, write, delete, "-file:write=ROOT/circle/**"]).contains("is a link"));
}

#[test]
fn the_floor_is_covered_unless_it_is_named() {
    let (_made, root) = tree();
    let vars = || Vars::new(CanonicalPath::root()).with_state(CanonicalPath::new(root.join("a/b")).unwrap());
    let (places, _) = laid_with(&root, &["+file:read=ROOT/**"], vars()).unwrap();
    assert_eq!(text(&root, &places), [":r", "a/b:-"]);
    let (places, _) = laid_with(&root, &["+file:read=ROOT/**", "+file:read=ROOT/a/b/**"], vars()).unwrap();
    assert_eq!(text(&root, &places), [":r", "a/b:r"]);
    let (places, _) = laid_with(&root, &["+file:read=ROOT/a/b/secret"], vars()).unwrap();
    assert_eq!(text(&root, &places), ["a/b/secret:r"]);
    // The sandbox lays it over the cover.
    let (places, _) =
        laid_with(&root, &["+file:read=ROOT/**", "+file:read=ROOT/a/b/secret"], vars()).unwrap();
    assert_eq!(text(&root, &places), [":r", "a/b/secret:r", "a/b:-"]);
}

#[test]
fn executing_is_lifted_where_it_is_named_and_writable() {
    let (_made, root) = tree();
    let (read, write) = ("+file:read=ROOT/**", "+file:write=ROOT/**");
    assert_eq!(shown(&root, &[read, write, "+subprocess:execute=ROOT/c/**"]), [":rw", "c:rwx"]);
    assert_eq!(shown(&root, &[read, write, "+subprocess:execute=ROOT/**"]), [":rwx"]);
    assert_eq!(shown(&root, &[read, write, "+subprocess:execute"]), [":rw"], "a bare grant lifts nothing");
    assert_eq!(shown(&root, &[read, "+subprocess:execute=ROOT/c/**"]), [":r"], "read-only is executable");
    assert_eq!(shown(&root, &[read, write, "+subprocess:execute=ROOT/none/**"]), [":rw"]);
}

#[test]
fn writing_without_deleting_has_a_hint() {
    let (_made, root) = tree();
    let (_, hints) = laid(&root, &["+file:read=ROOT/**", "+file:write=ROOT/a/**"]).unwrap();
    let grant = format!("--grant 'file:delete={}/a/**'", root.display());
    assert!(hints.len() == 1 && hints[0].contains(&grant), "{hints:?}");
    let (_, hints) = laid(&root, &["+file:write=ROOT/a/**", "+file:delete=ROOT/a/**"]).unwrap();
    assert!(hints.is_empty());
    assert_eq!(shell_word("it's"), "'it'\\''s'");
}

#[test]
fn a_grant_of_everything_leaves_the_sandbox_its_own() {
    let rules = RuleSet::new(vec![
        Rule::parse(Effect::Allow, "file:read", &Vars::new(CanonicalPath::root()), "test").unwrap(),
    ]);
    let (places, _) = lay_out(&rules, Missing::Refused, &Vars::new(CanonicalPath::root())).unwrap();
    let has = |path: &str| places.shown.contains_key(Path::new(path));
    assert!(has("/usr") && has("/etc") && !has("/proc") && !has("/dev") && !has("/tmp") && !has("/"));
    let shadow = Path::new("/etc/shadow");
    assert_eq!(places.hidden.contains_key(shadow), shadow.exists());
}

#[test]
fn what_a_plugin_was_granted_and_is_not_there_shows_nothing_and_stops_nothing() {
    let vars = Vars::new(CanonicalPath::root());
    let rule = Rule::parse(Effect::Allow, "file:read=/no/such/place/**", &vars, "--grant").unwrap();
    let rules = RuleSet::new(vec![rule]);
    let (places, _) = lay_out(&rules, Missing::Skipped, &vars).unwrap();
    assert!(places.shown.is_empty());
    assert_eq!(lay_out(&rules, Missing::Refused, &vars).unwrap_err().code(), ErrorCode::PathNotFound);
}

#[test]
fn what_may_be_changed_and_not_read_is_refused_in_what_is_read() {
    let (_made, root) = tree();
    // Landlock's right to read reaches from the outer grant past the cover that is between the two.
    let told = refused(&root, &["+file:read=ROOT/**", "+file:write=ROOT/a/b/**", "-file:read=ROOT/a/**"]);
    assert!(told.contains("a/b may be changed but not read"), "{told}");
    refused(&root, &["+file:read=ROOT/**", "+file:write=ROOT/a/b/secret", "-file:read=ROOT/a/**"]);
    // A denial of writing made it readable.
    refused(&root, &["+file:write=ROOT/**", "+file:delete=ROOT/a/b/**", "-file:write=ROOT/a/**"]);
    // The twins.
    assert_eq!(shown(&root, &["+file:read=ROOT/c/**", "+file:write=ROOT/a/b/**"]), ["a/b:w", "c:r"]);
    let beside = ["+file:read=ROOT/**", "+file:write=ROOT/a/b/**", "-file:read=ROOT/c/**"];
    assert_eq!(shown(&root, &beside), [":r", "a/b:rw", "c:-"]);
}

#[test]
fn the_floor_between_two_grants_is_no_way_to_read_what_may_only_be_written() {
    let (_made, root) = tree();
    let vars = Vars::new(CanonicalPath::root()).with_state(CanonicalPath::new(root.join("a")).unwrap());
    let error = laid_with(&root, &["+file:read=ROOT/**", "+file:write=ROOT/a/b/secret"], vars).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotEnforceable, "{error}");
}

#[test]
fn what_lies_above_something_unreadable_cannot_be_renamed() {
    let (_made, root) = tree();
    let rules =
        ["+file:read=ROOT/**", "+file:write=ROOT/**", "+file:delete=ROOT/**", "-file:read=ROOT/a/b/**"];
    assert_eq!(shown(&root, &rules), [":rwd", "a:rwd", "a/b:-"]);
    // Without the right to delete nothing is renamed.
    assert_eq!(shown(&root, &[rules[0], rules[1], rules[3]]), [":rw", "a/b:-"]);
}

#[test]
fn a_directory_that_a_wildcard_denies_is_denied_with_all_that_it_holds() {
    let (_made, root) = tree();
    assert_eq!(shown(&root, &["+file:read=ROOT/**", "-file:read=ROOT/c*"]), [":r", "c:-"]);
    assert_eq!(shown(&root, &["+file:read=ROOT/**", "-file:read=ROOT/a/*"]), [":r", "a/b:-", "a/open:-"]);
    // What is granted in it as well; and so where a link leads that is denied by its directory.
    let deeper = "+file:delete=ROOT/a/b/secret";
    assert_eq!(shown(&root, &["+file:read=ROOT/**", deeper, "-file:read=ROOT/a*"]), [":r", "a:-"]);
    std::os::unix::fs::symlink("../a", root.join("c/led")).unwrap();
    assert_eq!(shown(&root, &["+file:read=ROOT/**", deeper, "-file:read=ROOT/c/l*"]), [":r", "a:-"]);
    // A grant shows only what it means.
    assert_eq!(shown(&root, &["+file:read=ROOT/a/*"]), ["a/open:r"]);
}

#[test]
fn what_is_a_plugins_own_stays_in_a_directory_that_a_wildcard_denies() {
    let (_made, root) = tree();
    let rules = ["+file:read=ROOT/**", "+file:read=ROOT/a/b/**", "-file:read=ROOT/a*"];
    assert_eq!(text(&root, &laid_beside_own(&root, "a/b", &rules)), [":r", "a/b:r", "a:-"]);
    // The twin: what is anybody's goes.
    assert_eq!(text(&root, &laid_beside_own(&root, "c", &rules)), [":r", "a:-"]);
}

#[test]
fn what_is_denied_of_the_system_is_hidden_but_for_the_system_itself() {
    let (_made, root) = tree();
    let hidden = |rule: &str| {
        let (places, _) = laid(&root, &["+file:read=ROOT/**", rule]).unwrap();
        places.hidden.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(hidden("-file:read=/usr/share/**"), [Path::new("/usr/share")]);
    for rule in ["-file:read=/usr/**", "-file:write=/usr/share/**", "-file:read=/usr/share/none/**"] {
        assert_eq!(hidden(rule), [""; 0].map(PathBuf::from), "{rule}");
    }
}

#[test]
fn a_link_that_a_denial_of_reading_goes_through_is_not_to_be_taken_away() {
    let (_made, root) = tree();
    let rules = ["+file:read=ROOT/**", "+file:write=ROOT/**", "-file:read=ROOT/link", "+file:delete=ROOT/**"];
    assert!(refused(&root, &rules).contains("something else could be put in its place"));
    assert_eq!(shown(&root, &rules[..3]), [":rw", "a/b/secret:-"]);
}

#[test]
fn a_directory_has_what_reaches_all_that_is_in_it() {
    let (_made, root) = tree();
    // One level of it is not the whole of it.
    let (write, one, two) = ("+file:write=ROOT/a/**", "+file:read=ROOT/a/*", "+file:read=ROOT/a/*/*");
    assert_eq!(shown(&root, &[write, one]), ["a:w", "a/open:rw"]);
    assert_eq!(shown(&root, &[write, one, two]), ["a:w", "a/b/secret:rw", "a/open:rw"]);
    assert_eq!(shown(&root, &[write, "+file:read=ROOT/*/**"]), ["a:rw", "c:r"]);
    assert_eq!(shown(&root, &[write, "+file:read=ROOT/**/*"]), ["a:rw", "c:r"]);
    // A grant of a directory that a wildcard denies by its name.
    assert_eq!(shown(&root, &["+file:read=ROOT/a/b/**", "-file:read=ROOT/a/*"]), [""; 0]);
}
