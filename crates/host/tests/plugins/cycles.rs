//! A host that stays, and plugins that come and go: what each of them used is given back.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::rig::Rig;

/// Cycles of each plugin before the first look: what is made once and kept on purpose is there then.
const WARM_UP: usize = 2;
const CYCLES: usize = 8;
/// Threads that wait for blocking work end by themselves after a while.
const GRACE: Duration = Duration::from_secs(15);

const NATIVE: &str = "#!/usr/bin/python3 -ISB\nimport sys, json\nfor line in sys.stdin:\n    m = json.loads(line)\n    if 'id' not in m or 'method' not in m:\n        continue\n    result = {'protocol_version': '1'} if m['method'] == 'initialize' else 'ok'\n    print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': result}), flush=True)\n";

/// What this process holds: its descriptors by what they are, and its children.
fn held() -> (Vec<String>, BTreeSet<String>) {
    let mut open: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .map(|target| {
            // A pipe has another number each time; which one it is does not matter, but how many there are.
            let target = target.to_string_lossy().into_owned();
            target.split_once(":[").map_or(target.clone(), |(kind, _)| kind.to_owned())
        })
        .collect();
    open.sort();
    let own = std::process::id().to_string();
    let children = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(&own))
        .map(|stat| stat.split(' ').take(3).collect::<Vec<_>>().join(" "))
        .collect();
    (open, children)
}

/// Alone in its process: another test beside it opens and closes files of its own.
#[test]
fn starts_calls_and_stops_of_a_resident_host_leave_nothing() {
    let own_process = std::env::var_os("RINGFENCE_CYCLES_ALONE").is_some();
    if !own_process {
        let name = "cycles::starts_calls_and_stops_of_a_resident_host_leave_nothing";
        #[expect(clippy::disallowed_methods, reason = "the test starts itself as another user")]
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", name, "--nocapture"]).env("RINGFENCE_CYCLES_ALONE", "1");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // A name that no test has any more is a success, too, and has tested nothing.
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("1 passed; 0 failed"), "{said}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(cycles());
}

async fn cycles() {
    let rig = Rig::new().await;
    rig.python("python", "", &["ok"], "def ok(arguments):\n    return 'ok'\n").await;
    let manifest =
        "name: native\nversion: 1.0.0\nruntime: native\nentry_point: main.py\ntools: [{name: ok}]\n";
    let package = rig.package("native", &[("plugin.yaml", manifest), ("main.py", NATIVE)]);
    rig.host.install(&package, ringfence::plugin::Consent::Absent).await.unwrap();
    let repeat = async |times: usize| {
        for _ in 0..times {
            for name in ["python", "native"] {
                rig.host.activate(name).await.unwrap_or_else(|error| panic!("{name}: {}", error.chain()));
                assert_eq!(rig.call(name, "ok").await.unwrap(), "ok");
                rig.host.deactivate(name).await.unwrap();
            }
        }
    };
    repeat(WARM_UP).await;
    let before = held();
    repeat(CYCLES).await;
    let begun = Instant::now();
    while held() != before && begun.elapsed() < GRACE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(held(), before);
    rig.host.shutdown().await;
}
