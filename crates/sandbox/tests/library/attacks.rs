//! The table of `docs/layers-of-attacks.md`: for cases of the attack catalogue that one command can try, the layer that is
//! expected to refuse it, and those that do, each with all others off.
//!
//! As root, because an ordinary user's layers need two others to be set up at all. `RINGFENCE_WRITE_DOCS=1` writes the table;
//! without it the table must be the one that is there.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ringfence_sandbox::{Access, Layer, Layers, Plan, Processes, Program};

use crate::rig::{self, command, directory, found, root_only};

/// One act, with `{place}` for a directory that anybody may write, `{granted}` for a directory in it that is granted, `{host}`
/// for a process outside and `{port}` for a port on which it listens.
struct Attack {
    case: &'static str,
    act: &'static [&'static str],
    expected: Layer,
    processes: Processes,
}

const fn attack(case: &'static str, act: &'static [&'static str], expected: Layer) -> Attack {
    Attack { case, act, expected, processes: Processes::Allowed }
}

const fn alone(case: &'static str, act: &'static [&'static str], expected: Layer) -> Attack {
    Attack { case, act, expected, processes: Processes::Denied }
}

const ATTACKS: &[Attack] = &[
    attack("FS-01", &["read", "{place}/canary"], Layer::Mount),
    attack("FS-01", &["stat", "{place}/canary"], Layer::Mount),
    attack("FS-01", &["list", "{place}/hidden"], Layer::Mount),
    attack("FS-02", &["create", "{place}/hidden/new"], Layer::Mount),
    attack("FS-02", &["write", "{place}/canary"], Layer::Mount),
    attack("FS-02", &["truncate", "{place}/canary"], Layer::Mount),
    attack("FS-02", &["rename", "{place}/canary", "{place}/moved"], Layer::Mount),
    attack("FS-02", &["unlink", "{place}/canary"], Layer::Mount),
    attack("FS-02", &["mkdir", "{place}/hidden/made"], Layer::Mount),
    attack("FS-03", &["read", "{granted}/../canary"], Layer::Mount),
    attack("FS-05", &["read", "{granted}/link"], Layer::Mount),
    attack("FS-09", &["read", "/proc/self/root{place}/canary"], Layer::Mount),
    attack("FS-14", &["handle", "{place}/canary"], Layer::Seccomp),
    attack("FS-15", &["mknod", "{place}/node", "c", "1", "5"], Layer::Seccomp),
    attack("FS-17", &["chmod", "{place}/canary", "4755"], Layer::Seccomp),
    attack("FS-18", &["chmod", "{place}/canary", "0600"], Layer::Mount),
    attack("FS-18", &["utime", "{place}/canary"], Layer::Mount),
    attack("FS-18", &["setxattr", "{place}/canary"], Layer::Mount),
    attack("FS-19", &["write", "{granted}/file"], Layer::Mount),
    attack("FS-19", &["unlink", "{granted}/file"], Layer::Mount),
    attack("FS-19", &["setxattr", "{granted}/file"], Layer::Mount),
    attack("FS-28", &["openw", "/proc/sys/kernel/core_pattern"], Layer::Mount),
    alone("PROC-01", &["exec", "{probe}", "hello"], Layer::Seccomp),
    alone("PROC-01", &["fork"], Layer::Seccomp),
    alone("PROC-01", &["memfdexec", "{probe}", "hello"], Layer::Seccomp),
    attack("PROC-05", &["traceme"], Layer::Seccomp),
    attack("PROC-05", &["vmread"], Layer::Seccomp),
    attack("PROC-05", &["getfd"], Layer::Seccomp),
    attack("PROC-06", &["kill", "{host}", "0"], Layer::Pid),
    attack("PROC-06", &["sigqueue", "{host}", "28"], Layer::Pid),
    attack("PROC-06", &["setown", "{host}", "28"], Layer::Pid),
    attack("PROC-07", &["tiocsti"], Layer::Seccomp),
    attack("PROC-09", &["unshare", "10000000"], Layer::Seccomp),
    attack("PROC-09", &["unshare", "20000"], Layer::Seccomp),
    attack("PROC-11", &["chroot", "/"], Layer::Seccomp),
    attack("PROC-12", &["iouring"], Layer::Seccomp),
    attack("PROC-14", &["key", "ringfence-layer-table"], Layer::Seccomp),
    attack("PROC-15", &["capset"], Layer::Capabilities),
    attack("PROC-15", &["securebits"], Layer::Capabilities),
    attack("PROC-15", &["personality"], Layer::Seccomp),
    attack("PROC-16", &["realtime"], Layer::Capabilities),
    attack("PROC-16", &["nice"], Layer::Capabilities),
    attack("PROC-24", &["shmread", "{key}"], Layer::Ipc),
    attack("RES-07", &["fdbomb", "2000"], Layer::Limits),
    attack("NET-01", &["tcp", "127.0.0.1", "{port}", "x"], Layer::Network),
    attack("NET-02", &["udp", "127.0.0.1", "{port}", "x"], Layer::Network),
    attack("NET-02", &["mptcp", "127.0.0.1", "{port}", "x"], Layer::Seccomp),
    attack("NET-02", &["socket", "17", "3", "768"], Layer::Seccomp),
    attack("NET-02", &["socket", "40", "1", "0"], Layer::Seccomp),
    attack("NET-20", &["unix", "{place}/socket", "x"], Layer::Mount),
    attack("NET-20", &["abstract", "{abstract}", "x"], Layer::Network),
];

/// The testkit's program of hostile acts.
fn acts() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/probes");
        let files = ["main.c", "fs.c", "net.c", "sys.c", "proc.c", "life.c", "res.c", "each.c"];
        let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile-acts");
        let made = command("cc")
            .args(["-O1", "-w", "-static", "-pthread"])
            .args(files.map(|name| source.join(name)))
            .arg("-o")
            .arg(&built)
            .status();
        assert!(made.unwrap().success(), "the acts do not compile");
        built
    })
}

/// A host: a place with a canary, and somebody who listens.
struct Host {
    place: tempfile::TempDir,
    probe: PathBuf,
    port: String,
    _listeners: (std::net::TcpListener, std::net::UdpSocket, [std::os::unix::net::UnixListener; 2]),
}

impl Host {
    fn new() -> Self {
        use std::os::linux::net::SocketAddrExt as _;
        use std::os::unix::net::{SocketAddr, UnixListener};
        let place = directory(0o777);
        let at = |name: &str| place.path().join(name);
        std::fs::create_dir(at("granted")).unwrap();
        std::fs::create_dir(at("hidden")).unwrap();
        for name in ["canary", "granted/file"] {
            std::fs::write(at(name), "secret").unwrap();
        }
        std::os::unix::fs::symlink(at("canary"), at("granted/link")).unwrap();
        let probe = at("granted/probe");
        std::fs::copy(acts(), &probe).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        let udp = std::net::UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let unix = UnixListener::bind(at("socket")).unwrap();
        let name = format!("ringfence-layers-{}", std::process::id());
        let hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
        for name in ["granted", "hidden", "canary", "granted/file", "socket"] {
            std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        Self { probe, port: port.to_string(), _listeners: (tcp, udp, [unix, hidden]), place }
    }

    fn fill(&self, word: &str) -> String {
        let pid = std::process::id();
        word.replace("{place}", &self.place.path().display().to_string())
            .replace("{granted}", &self.place.path().join("granted").display().to_string())
            .replace("{probe}", &self.probe.display().to_string())
            .replace("{host}", &pid.to_string())
            .replace("{port}", &self.port)
            .replace("{key}", &key())
            .replace("{abstract}", &format!("ringfence-layers-{pid}"))
    }
}

fn key() -> String {
    (0x5247_0000 + std::process::id() % 0xffff).to_string()
}

/// Whether the act is refused with these layers; `None` when a sandbox of just these cannot be set up. A fresh host each time: an act that is not refused changes it.
fn refused(attack: &Attack, layers: Layers) -> Option<bool> {
    let host = Host::new();
    let mut layers = layers;
    if [Layer::Landlock, Layer::Seccomp].iter().any(|layer| layers.contains(*layer)) {
        // Neither can be had without it, and it refuses none of these acts itself.
        let with: Vec<Layer> = layers.iter().chain([Layer::NoNewPrivileges]).collect();
        layers = Layers::of(&with);
    }
    let mut plan = Plan::new(Program::find(host.probe.as_os_str(), Path::new("/")).unwrap());
    for word in attack.act {
        plan.argument(host.fill(word));
    }
    plan.mount(found(host.place.path().join("granted")), Access::READ);
    plan.weaken(Layers::ALL.without(layers)).processes(attack.processes);
    let (stdio, out, errors) = rig::files();
    let sandbox = rig::launcher().launch(&plan, stdio).ok()?;
    Some(!rig::finish(sandbox, &out, &errors).text.contains("\"ok\":true"))
}

#[test]
fn each_attack_is_refused_by_the_layer_that_is_expected_to() {
    root_only(|| {
        assert!(command(acts()).args(["shmmake", &key(), "secret"]).status().unwrap().success());
        let mut table = String::from(HEAD);
        let mut wrong = Vec::new();
        for attack in ATTACKS {
            let open = refused(attack, Layers::of(&[Layer::Uts]));
            let all = refused(attack, Layers::ALL);
            let by: Vec<Layer> = Layer::ALL
                .into_iter()
                .filter(|layer| refused(attack, Layers::of(&[*layer])) == Some(true))
                .collect();
            let without = refused(attack, Layers::ALL.without(Layers::of(&[attack.expected])));
            let names: Vec<&str> = by.iter().map(|layer| layer.name()).collect();
            // Root's program is an unprivileged user with any plan at all, and so refused some acts before any layer is asked.
            let by_user = open == Some(true);
            let names = if by_user { vec!["the unprivileged user, with no layer at all"] } else { names };
            let rest = match without {
                Some(true) => "yes",
                Some(false) => "no",
                None => "cannot be set up",
            };
            writeln!(
                table,
                "| {} | `{}` | {} | {} | {rest} |",
                attack.case,
                attack.act.join(" "),
                attack.expected.name(),
                names.join(", ")
            )
            .unwrap();
            if open.is_none() || all != Some(true) || !by.contains(&attack.expected) {
                wrong.push(format!(
                    "{} {:?}: open {open:?}, all {all:?}, by {names:?}",
                    attack.case, attack.act
                ));
            }
        }
        assert!(command(acts()).args(["shmdrop", &key()]).status().unwrap().success());
        assert!(wrong.is_empty(), "{table}\n{}", wrong.join("\n"));
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/layers-of-attacks.md");
        if std::env::var_os("RINGFENCE_WRITE_DOCS").is_some() {
            std::fs::write(&file, &table).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), table, "run it with RINGFENCE_WRITE_DOCS=1");
    });
}

const HEAD: &str = "# Which layer refuses what

Made by a test of `crates/sandbox` (`attacks::each_attack_is_refused_by_the_layer_that_is_expected_to`), which also fails when
this table is no longer true. Each act of the testkit's probe runs for root's host with no layer that could hold it, with all
layers (it must fail), with each layer alone, and with all but the expected one. *Alone* names every layer that refuses it with
all others off. A program of root's is an unprivileged user even then: what that refuses already is said so. *Held without it* says
whether the others still hold when the expected one is missing; some layers cannot be left out of a sandbox that has the rest.

| case | act | expected | alone | held without it |
|---|---|---|---|---|
";
