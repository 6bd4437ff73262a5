use super::*;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

fn place() -> (tempfile::TempDir, PathBuf) {
    let made = tempfile::tempdir().unwrap();
    let root = find(made.path()).path().to_owned();
    (made, root)
}

fn find(path: &Path) -> Resolved {
    Resolved::find(path).unwrap()
}

#[test]
fn a_directory_is_itself_wherever_it_lies_and_no_other_one() {
    let (_made, root) = place();
    std::fs::create_dir(root.join("a")).unwrap();
    let pin = Pin::of(&find(&root.join("a"))).unwrap();
    assert!(pin.is(&find(&root.join("a"))), "the control");
    let stored: Pin = serde_json::from_str(&serde_json::to_string(&pin).unwrap()).unwrap();
    assert_eq!(stored, pin);
    std::fs::rename(root.join("a"), root.join("b")).unwrap();
    symlink("b", root.join("a")).unwrap();
    assert!(pin.is(&find(&root.join("a"))), "the same one, by a link");
    let mut reused = pin.clone();
    reused.seen.as_mut().unwrap().born_ns = Some(1);
    assert!(!reused.is(&find(&root.join("a"))), "another one with its number, by a link");
    std::fs::create_dir(root.join("c")).unwrap();
    std::fs::remove_file(root.join("a")).unwrap();
    std::fs::rename(root.join("c"), root.join("a")).unwrap();
    assert!(!pin.is(&find(&root.join("a"))), "another one in its place");
    std::fs::remove_dir(root.join("a")).unwrap();
    symlink("/usr", root.join("a")).unwrap();
    assert!(!pin.is(&find(&root.join("a"))), "a link in its place");
}

#[test]
fn a_file_may_be_saved_anew_where_it_was_and_nowhere_else() {
    let (_made, root) = place();
    std::fs::write(root.join("a"), "1").unwrap();
    // Made now, as later it could get the inode that is free by then.
    std::fs::write(root.join("other"), "3").unwrap();
    let pin = Pin::of(&find(&root.join("a"))).unwrap();
    std::fs::write(root.join("new"), "2").unwrap();
    std::fs::rename(root.join("new"), root.join("a")).unwrap();
    let now = find(&root.join("a"));
    assert!(pin.is(&now) && !pin.is_that_very(&now));
    std::fs::remove_file(root.join("a")).unwrap();
    symlink("other", root.join("a")).unwrap();
    assert!(!pin.is(&find(&root.join("a"))));
}

#[test]
fn another_device_number_is_believed_after_a_restart_of_the_machine_alone() {
    let (_made, root) = place();
    let now = find(&root);
    let mut pin = Pin::of(&now).unwrap();
    let seen = pin.seen.as_mut().unwrap();
    seen.device += 1;
    assert!(!pin.is(&now), "within one start");
    pin.seen.as_mut().unwrap().boot = "another".to_owned();
    assert!(pin.is(&now));
    pin.seen.as_mut().unwrap().born_ns = Some(1);
    assert!(!pin.is(&now), "it was made anew");
    let mut elsewhere = Pin::of(&now).unwrap();
    elsewhere.path = "/elsewhere".to_owned();
    elsewhere.seen.as_mut().unwrap().device += 1;
    elsewhere.seen.as_mut().unwrap().boot = "another".to_owned();
    assert!(!elsewhere.is(&now), "another place with the same number");
}

#[test]
fn a_program_is_its_bytes() {
    let (_made, root) = place();
    let path = root.join("tool");
    std::fs::write(&path, "#!/bin/sh\necho 1\n").unwrap();
    let pin = Pin::of_program(&find(&path)).unwrap();
    assert!(pin.is_program(&find(&path)), "the control");
    // The same bytes in another file, as an installation anew makes them.
    std::fs::write(root.join("new"), "#!/bin/sh\necho 1\n").unwrap();
    std::fs::rename(root.join("new"), &path).unwrap();
    assert!(pin.is_program(&find(&path)));
    // Other bytes of the same length in the same file, with the old time.
    let before = std::fs::metadata(&path).unwrap();
    let pin = Pin::of_program(&find(&path)).unwrap();
    std::fs::write(&path, "#!/bin/sh\necho 2\n").unwrap();
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(before.modified().unwrap())
        .unwrap();
    assert!(!pin.is_program(&find(&path)));
    assert!(!Pin::of(&find(&path)).unwrap().is_program(&find(&path)), "no content was looked at");
}
