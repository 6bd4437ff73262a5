//! `docs/administering.md`: what it tells an administrator to type is typed here.

use std::path::Path;

use crate::daemon::{alive, signal};
use crate::world::{RINGFENCE, Ran, World};

#[test]
fn every_command_of_the_page_works() {
    let Some(world) = World::new() else { return };
    world.done(&["list"]);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/administering.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks: Vec<&str> =
        page.split("\n```sh\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert!(blocks.len() >= 4, "{blocks:?}");
    let beside = Path::new(RINGFENCE).parent().unwrap().display().to_string();
    let path = format!("{beside}:{}", std::env::var("PATH").unwrap());
    let home = world.path("home");
    for block in blocks {
        let mut command = std::process::Command::new("sh");
        command
            .args(["-e", "-c", block])
            .env("RINGFENCE_HOME", &home)
            .env("PATH", &path)
            .current_dir(world.path(""));
        let ran = Ran::of(&command.output().unwrap());
        // Whatever it started ends with it.
        let holder = std::fs::read_to_string(home.join("daemon.lock")).unwrap_or_default();
        if let Ok(pid) = holder.trim().parse::<u32>()
            && ran.code != Some(0)
            && alive(pid)
        {
            signal(pid, "KILL");
        }
        assert_eq!(ran.code, Some(0), "{block}\n{ran:?}");
    }
}

#[test]
fn the_configuration_of_the_page_is_one() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/administering.md");
    let page = std::fs::read_to_string(page).unwrap();
    let blocks: Vec<&str> =
        page.split("\n```toml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        ringfence::Config::parse(block).unwrap_or_else(|error| panic!("{block}\n{error}"));
    }
}
