//! The types of the clients for Python and TypeScript, as the checkers of those languages see them. Checkers come from their
//! registries, as in `mcp_outside`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::outside::{installed, run};

const TYPESCRIPT: [&str; 2] = ["typescript@5.9.3", "@types/node@20.19.43"];
const MYPY: &str = "mypy==2.4.1";
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sdk");
/// What an application writes; some of it is wrong, which each checker must say.
const APPLICATION: &str = "from ringfence.client import Host, Run, Versioned
from ringfence.client.types import Denial, PluginState, RunReport


def main() -> None:
    with Host.start(config={\"server\": {\"log\": \"warn\"}}) as host:
        state: PluginState = host.install(\"hello\", grant=[])[\"plugin\"][\"state\"]
        run: Run = host.exec([\"ls\"], limits={\"timeout_ms\": 1000})
        report: RunReport = run.wait()
        denials: list[Denial] = report[\"denials\"]
        config: Versioned[dict[str, object]] = Versioned(dict(host.get_config(\"hello\").value), \"v\")
        print(state, denials, config.version, host.call(\"hello\", \"greet\", {\"name\": \"Ada\"}, timeout=1.5))
";
const WRONG: [&str; 3] = ["host.create_token(\"root\")", "report[\"exitcode\"]", "host.exec(7)"];

#[test]
fn the_typescript_client_is_typed() {
    if ringfence_testkit::lacks("npm") {
        return;
    }
    let place = installed("typescript", |place| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(place);
        run("npm-packages", npm.args(TYPESCRIPT))
    });
    let Some(place) = place else { return };
    let link = place.join("node_modules/ringfence");
    std::fs::remove_file(&link).ok();
    std::os::unix::fs::symlink(Path::new(SDK).join("typescript"), &link).unwrap();
    let application = place.join("client-types.ts");
    std::fs::copy(Path::new(SDK).join("typescript/test/client-types.ts"), &application).unwrap();
    for module in ["node16", "nodenext"] {
        let mut compiler = Command::new(place.join("node_modules/.bin/tsc"));
        compiler.args([
            "--noEmit",
            "--strict",
            "--target",
            "es2022",
            "--types",
            "node",
            "--skipLibCheck",
            "false",
        ]);
        compiler.args(["--module", module, "--moduleResolution", module, "--exactOptionalPropertyTypes"]);
        let checked = compiler.arg(&application).current_dir(&place).output().unwrap();
        assert!(checked.status.success(), "{module}: {}", String::from_utf8_lossy(&checked.stdout));
    }
}

#[test]
fn the_python_client_is_typed() {
    if ringfence_testkit::lacks("python3") {
        return;
    }
    let place = installed(MYPY, |place: &Path| {
        run("venv", Command::new("python3").args(["-m", "venv"]).arg(place))?;
        let mut pip = Command::new(place.join("bin/python"));
        run("pypi", pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", MYPY]))
    });
    let Some(place) = place else { return };
    let checked = mypy(&place, &Path::new(SDK).join("python/src/ringfence/client"));
    assert_eq!(checked, None);
    let application = place.join("application.py");
    std::fs::write(&application, APPLICATION).unwrap();
    assert_eq!(mypy(&place, &application), None);
    for line in WRONG {
        std::fs::write(&application, format!("{APPLICATION}        {line}\n")).unwrap();
        let said = mypy(&place, &application).unwrap_or_else(|| panic!("{line} passes"));
        assert!(said.contains("1 error"), "{line}: {said}");
    }
}

/// What the checker finds; `None`: nothing.
fn mypy(place: &Path, what: &Path) -> Option<String> {
    let cache: PathBuf = place.join("cache");
    let checked = Command::new(place.join("bin/mypy"))
        .args(["--strict", "--follow-imports", "silent", "--cache-dir"])
        .arg(cache)
        .arg(what)
        .env("MYPYPATH", Path::new(SDK).join("python/src"))
        .current_dir(place)
        .output()
        .unwrap();
    (!checked.status.success()).then(|| String::from_utf8_lossy(&checked.stdout).into_owned())
}
