//! An interpreter that stands outside /usr, by way of the shim of a version manager: it runs, with what belongs to it, and its
//! plugin sees nothing that lies beside it.

use crate::place::{Place, document};
use ringfence_testkit::{World, users};
use serde_json::json;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const CODE: &str = "import json, os, sys\n\ndef act(a):\n    found = {'prefix': sys.prefix, 'json': json.__file__}\n    \
    for path in a['paths']:\n        try:\n            found[path] = len(open(path, 'rb').read()) > 0\n        \
    except OSError:\n            found[path] = None\n    try:\n        open(json.__file__, 'a')\n        found['changed'] = True\n    \
    except OSError:\n        found['changed'] = False\n    return found\n";

/// A Python of its own, as pyenv keeps it: `versions/VERSION` with the interpreter and its library, and a shim.
fn version_manager(world: &World, number: &str) {
    let version = world
        .bare_program(&["/usr/bin/python3", "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"])
        .run();
    let name = version.out().trim().to_owned();
    let prefix = world.path(&format!("manager/versions/{number}"));
    for directory in ["manager", "manager/shims", "manager/versions"] {
        world.mkdir(directory);
    }
    for directory in ["", "/bin", "/lib"] {
        world.mkdir(&format!("manager/versions/{number}{directory}"));
    }
    fs::copy(Path::new("/usr/bin").join(&name), prefix.join("bin/python3")).unwrap();
    // What nothing here imports takes longer to copy than all the rest.
    let copy = "import shutil, sys; shutil.copytree(*sys.argv[1:], ignore=shutil.ignore_patterns('test', '__pycache__', \
                'config-*', 'idlelib', 'lib2to3', 'ensurepip', 'tkinter', 'pydoc_data', 'lib-dynload'))";
    let library = |root: &Path| root.join("lib").join(&name).to_string_lossy().into_owned();
    let (from, to) = (library(Path::new("/usr")), library(&prefix));
    world.bare_program(&["/usr/bin/python3", "-c", copy, &from, &to]).run().expect_code(0);
    world.put("manager/shims/python3", "#!/bin/sh\necho 'a shim was run' >&2\nexit 9\n");
    fs::set_permissions(world.path("manager/shims/python3"), Permissions::from_mode(0o755)).unwrap();
    world.put("manager/secret", "beside it");
    world.mkdir("manager/versions/0.0.1");
    world.put("manager/versions/0.0.1/other", "another version");
}

#[test]
fn the_shim_of_a_version_manager_leads_to_an_interpreter_with_its_prefix() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        version_manager(&place.world, "9.9.9");
        let path = |below: &str| place.world.path(below).to_string_lossy().into_owned();
        let config = format!("[interpreters]\npython = \"{}\"\n", path("manager/shims/python3"));
        place.world.put("home/state/config.toml", &config);
        place.world.mkdir("packages/reader");
        let manifest = json!({
            "name": "reader", "version": "1.0.0", "runtime": "python", "entry_point": "main.py", "tools": [{"name": "act"}]
        });
        place.world.put("packages/reader/plugin.json", &manifest.to_string());
        place.world.put("packages/reader/main.py", CODE);
        place.done(&["install", &path("packages/reader"), "--grant-requested"]);
        let unset = place.refused(&["activate", "reader"], 2, "invalid_config");
        assert!(unset["message"].as_str().unwrap().contains("sets no version"), "as {who:?}: {unset}");
        place.world.put("manager/version", "9.9.9\n");
        place.done(&["activate", "reader"]);
        let beside =
            [path("manager/secret"), path("manager/versions/0.0.1/other"), path("manager/shims/python3")];
        let own = path("manager/versions/9.9.9/bin/python3");
        let asked = json!({"paths": [&beside[0], &beside[1], &beside[2], &own]});
        let found = place.act("reader", &asked);
        assert_eq!(found["prefix"], path("manager/versions/9.9.9"), "as {who:?}: {found}");
        assert!(found["json"].as_str().unwrap().starts_with(&path("manager/versions/9.9.9/lib")), "{found}");
        assert_eq!((&found[&own], &found["changed"]), (&json!(true), &json!(false)), "as {who:?}: {found}");
        for path in &beside {
            assert_eq!(found[path], json!(null), "{path} as {who:?}: {found}");
            assert!(!fs::read(path).unwrap().is_empty(), "the control");
        }
        // The twin: what is granted is seen.
        place.done(&["grant", "reader", &format!("file:read={}", beside[0])]);
        let run = place.run(&["call", "reader", "act", &asked.to_string(), "--json"]);
        assert_eq!(document(&run)[&beside[0]], json!(true), "as {who:?}\n{run}");
    }
}
