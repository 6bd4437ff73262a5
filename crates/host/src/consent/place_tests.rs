use super::*;
use ringfence_sandbox::Resolved;
use std::fs;
use std::os::unix::fs::symlink;

fn tree() -> (tempfile::TempDir, PathBuf) {
    let made = tempfile::tempdir().unwrap();
    let root = Resolved::find(made.path()).unwrap().path().to_owned();
    fs::create_dir_all(root.join("out/deep")).unwrap();
    (made, root)
}

#[test]
fn fs_08_a_file_with_a_name_elsewhere_is_named_and_one_whose_names_are_all_inside_is_not() {
    let (_made, root) = tree();
    fs::write(root.join("out/deep/a"), "x").unwrap();
    fs::hard_link(root.join("out/deep/a"), root.join("out/b")).unwrap();
    assert_eq!(warnings(&root.join("out"), None), [""; 0], "both names lie inside");
    fs::write(root.join("secret"), "x").unwrap();
    fs::hard_link(root.join("secret"), root.join("out/deep/alias")).unwrap();
    let said = warnings(&root.join("out"), None);
    let [said] = &said[..] else { panic!("{said:?}") };
    assert!(said.starts_with("it holds a file that has another name elsewhere (hard links)"), "{said}");
    assert!(said.ends_with(&root.join("out/deep/alias").display().to_string()), "{said}");
    assert_eq!(warnings(&root.join("out/deep/alias"), None).len(), 1, "a single file");
    assert_eq!(warnings(&root.join("out/nothing"), None), [""; 0]);
}

#[test]
fn no_link_is_followed() {
    let (_made, root) = tree();
    fs::create_dir(root.join("elsewhere")).unwrap();
    fs::write(root.join("secret"), "x").unwrap();
    fs::hard_link(root.join("secret"), root.join("elsewhere/alias")).unwrap();
    symlink(root.join("elsewhere"), root.join("out/link")).unwrap();
    assert_eq!(warnings(&root.join("out"), None), [""; 0]);
    assert_eq!(warnings(&root.join("elsewhere"), None).len(), 1, "the control");
}

#[test]
fn looking_ends_and_says_so() {
    let (_made, root) = tree();
    for number in 0..10 {
        fs::write(root.join(format!("out/{number}")), "x").unwrap();
    }
    let mut walk = Walk { entries: ENTRIES_MAX - 2, ..Walk::default() };
    walk.look(&root.join("out"), Instant::now() + TIME_MAX);
    assert_eq!((walk.entries, walk.cut), (ENTRIES_MAX, Some("it holds more")));
    let mut walk = Walk::default();
    walk.look(&root.join("out"), Instant::now());
    assert_eq!((walk.entries, walk.cut), (0, Some("it takes long")));
    let mut walk = Walk::default();
    walk.look(&root.join("out"), Instant::now() + Duration::from_secs(60));
    assert_eq!((walk.entries, walk.cut), (11, None), "the twin");
}

#[test]
fn fs_22_what_is_executed_later_is_said_whether_it_is_there_or_could_be_made() {
    let (_made, root) = tree();
    let says = |path: &Path, words: &str| {
        let said = warnings(path, Some(Path::new("/home/ada")));
        assert!(said.iter().any(|line| line.contains(words)), "{}: {said:?}", path.display());
    };
    assert_eq!(warnings(&root.join("out"), None), [""; 0], "an ordinary directory");
    for later in later::NAMES {
        let at = root.join("out/deep").join(later.name);
        fs::create_dir(&at).unwrap();
        says(&root.join("out"), later.what);
        says(&root.join("out"), &at.display().to_string());
        fs::remove_dir(&at).unwrap();
    }
    fs::create_dir(root.join(".git")).unwrap();
    says(&root.join("out"), "it lies in the repository");
    says(&root, "git runs the hooks in it");
    for later in later::PLACES {
        let at = later.name.replacen('~', "/home/ada", 1);
        let reaches = |granted: &str| {
            later::by_place(Path::new(granted), Some(Path::new("/home/ada")))
                .any(|found| found.name == later.name)
        };
        assert!(reaches(&at) && reaches(&format!("{at}/below")) && reaches("/"), "{at}");
        assert!(!reaches(&format!("{at}-beside")) && !reaches("/srv/out"), "{at}");
    }
}

#[test]
fn the_lists_are_in_order_and_name_nothing_twice() {
    let sorted = |list: &[Later]| list.windows(2).all(|pair| pair[0].name < pair[1].name);
    assert!(sorted(later::PLACES));
    let mut names: Vec<_> = later::NAMES.iter().map(|later| later.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), later::NAMES.len());
    assert!(later::MARKS.iter().all(|mark| names.contains(mark)));
}
