//! Random plans against a small model of the launcher: what is compiled can be read, and the root that it describes can
//! be built, step by step.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{CompileError, Launch, NetworkFrom, PROGRAM_FD_MIN, compile};
use crate::kernel::Facts;
use crate::wire::{Reader, Recipe, Request, SourceRecord, build, flag, source};
use crate::{Access, Layer, Layers, Plan, Processes, Program, Resolved};

/// `MOUNT_ATTR_NOSUID` (mount_setattr(2)).
const NOSUID: u64 = 2;
const PLACES: [&str; 8] =
    ["/usr/share", "/usr/lib", "/etc", "/var", "/tmp", "/usr/bin/env", "/etc/passwd", "/var/lib"];

fn access() -> impl Strategy<Value = Access> {
    any::<[bool; 4]>().prop_map(|[read, write, delete, execute]| Access { read, write, delete, execute })
}

fn text() -> impl Strategy<Value = OsString> {
    use std::os::unix::ffi::OsStringExt as _;
    prop::collection::vec(1u8..=255, 0..40).prop_map(OsString::from_vec)
}

/// Landlock is this kernel's: what every sandbox has is compiled once in a process.
fn facts() -> impl Strategy<Value = Facts> {
    (any::<bool>(), any::<bool>(), 65u64..100_000).prop_map(|(root, listener, open_files_max)| {
        let uid = if root { 0 } else { 65534 };
        let landlock_abi = Facts::get().landlock_abi;
        Facts {
            root,
            uid,
            gid: uid,
            landlock_abi,
            listener,
            open_files_max,
            namespaces: [1, 2, 3, 4, 5, 6, 7],
        }
    })
}

prop_compose! {
    fn plans()(
        arguments in prop::collection::vec(text(), 0..6),
        variables in prop::collection::vec((text(), text()), 0..4),
        mounts in prop::collection::vec((0..PLACES.len(), access()), 0..6),
        hidden in prop::option::of(0..PLACES.len()),
        link in prop::option::of("/[a-z]{1,5}(/[a-z]{1,5})?"),
        layers in prop::collection::vec(any::<bool>(), 14),
        switches in any::<[bool; 3]>(),
        open_files in 3u64..5000,
    ) -> Plan {
        let mut plan = Plan::new(Program::find("sh".as_ref(), "/".as_ref()).unwrap());
        let found = |index: usize| Resolved::find(Path::new(PLACES[index])).ok();
        for argument in arguments {
            plan.argument(argument);
        }
        for (name, value) in variables {
            plan.variable(name, value);
        }
        for (index, access) in mounts {
            if let Some(source) = found(index) {
                plan.mount(source, access);
            }
        }
        if let Some(path) = hidden.and_then(found) {
            plan.hide(path);
        }
        if let Some(from) = link {
            plan.link(from, "/usr/share");
        }
        let out: Vec<Layer> = Layer::ALL.into_iter().zip(&layers).filter(|(_, out)| **out).map(|(layer, _)| layer).collect();
        plan.weaken(Layers::of(&out)).observe(switches[0]);
        plan.processes(if switches[1] { Processes::Allowed } else { Processes::Denied });
        plan.network(if switches[2] { crate::Network::Fresh } else { crate::Network::Shared });
        plan.limits(crate::plan::Limits { open_files, ..crate::plan::Limits::default() });
        plan
    }
}

fn path(reader: &mut Reader<'_>) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(reader.text().to_bytes()))
}

/// Where something is made: a directory, and one name in it.
fn place(reader: &mut Reader<'_>) -> PathBuf {
    let (parent, name) = (path(reader), path(reader));
    assert_eq!(name.components().count(), 1, "{}", name.display());
    parent.join(name)
}

/// What the launcher's `run_step` needs to succeed, on a set of paths: the recipe once for many sandboxes, then the steps.
fn build(request: &Request<'_>) -> HashSet<PathBuf> {
    let mut made: HashSet<PathBuf> = HashSet::from([PathBuf::new()]);
    let mut foreign: Vec<PathBuf> = Vec::new();
    let recipe = Recipe::parse(request.recipe).expect("the launcher reads it");
    run(&recipe.steps, recipe.sources.count, Part::Recipe, &mut made, &mut foreign);
    run(&request.steps, request.sources.count, Part::Steps, &mut made, &mut foreign);
    made
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Recipe,
    Steps,
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind of step, in their order")]
fn run(
    records: &crate::wire::Records<'_>,
    sources: u32,
    part: Part,
    made: &mut HashSet<PathBuf>,
    foreign: &mut Vec<PathBuf>,
) {
    let mut private: Option<PathBuf> = None;
    let mut steps = records.reader.clone();
    for number in 0..records.count {
        let kind = steps.u32();
        let makes = matches!(kind, build::DIRECTORY | build::SYMLINK | build::FILE);
        assert!(makes || part == Part::Steps || kind == build::ATTACH, "a recipe only makes and attaches");
        let has = |made: &HashSet<PathBuf>, foreign: &[PathBuf], path: &Path| {
            made.contains(path) || foreign.iter().any(|mount| path.starts_with(mount))
        };
        let fits = |made: &HashSet<PathBuf>, foreign: &[PathBuf], path: &Path| {
            let own = !foreign.iter().any(|mount| path.starts_with(mount));
            own && path.parent().is_some_and(|parent| made.contains(parent))
        };
        let said = match kind {
            build::DIRECTORY => {
                let _mode = steps.u32();
                let path = place(&mut steps);
                let good = fits(made, foreign, &path);
                assert!(
                    part == Part::Recipe || is_below(&private, &path),
                    "a shared root is written: {}",
                    path.display()
                );
                made.insert(path);
                good
            }
            build::SYMLINK => {
                let _target = path(&mut steps);
                let path = place(&mut steps);
                assert!(
                    part == Part::Recipe || is_below(&private, &path),
                    "a shared root is written: {}",
                    path.display()
                );
                fits(made, foreign, &path) && made.insert(path)
            }
            build::FILE => {
                let _mode = steps.u32();
                let path = place(&mut steps);
                let _content = steps.blob();
                assert!(
                    part == Part::Recipe || is_below(&private, &path),
                    "a shared root is written: {}",
                    path.display()
                );
                fits(made, foreign, &path) && made.insert(path)
            }
            build::ATTACH => {
                let source = steps.u32();
                let path = path(&mut steps);
                let good = source < sources && has(made, foreign, &path);
                foreign.push(path);
                good
            }
            build::SCRATCH => {
                let (_size, _attributes) = (path(&mut steps), steps.u64());
                let path = path(&mut steps);
                let good = has(made, foreign, &path);
                private = Some(path);
                good
            }
            build::PROC => has(made, foreign, &path(&mut steps)),
            build::COVER => {
                let cover = path(&mut steps);
                let good = made.contains(&cover) && has(made, foreign, &path(&mut steps));
                let _identity = (steps.u64(), steps.u64());
                good
            }
            other => panic!("step {number} is of kind {other}"),
        };
        assert!(said, "step {number} of kind {kind} cannot be done");
    }
    assert!(steps.is_empty() && !steps.is_broken(), "all steps are read");
}

fn is_below(private: &Option<PathBuf>, path: &Path) -> bool {
    private.as_ref().is_some_and(|private| path.starts_with(private) && path != private)
}

fn whole(records: &crate::wire::Records<'_>, mut read: impl FnMut(&mut Reader<'_>)) {
    let mut from = records.reader.clone();
    (0..records.count).for_each(|_| read(&mut from));
    assert!(from.is_empty() && !from.is_broken());
}

fn check(plan: &Plan, facts: &Facts, counted: bool, network: NetworkFrom) {
    let compiled = match compile(plan, facts, counted, network) {
        Ok(compiled) => compiled,
        Err(CompileError::NotVisible { .. }) if !plan.hidden.is_empty() => return,
        Err(error) => panic!("{error}"),
    };
    let leaf = OsStr::new("1-2-3");
    let launch = Launch { outside: (5, 6), cgroup_leaf: leaf, cgroup_lines: 3, extra_flags: flag::CGROUP_V2 };
    let bytes = compiled.request(plan, facts, &launch);
    let request = Request::parse(&bytes).expect("the launcher reads it");
    assert_eq!(
        (request.layers, request.required, request.broken),
        (plan.layers.bits(), plan.layers.bits(), 0)
    );
    assert_eq!((request.outside_uid, request.outside_gid), (5, 6));
    assert!(request.has(flag::CGROUP_V2) && request.has(flag::SWITCH_IDS) == facts.root);
    assert!(request.program_fd >= PROGRAM_FD_MIN && request.program_text >= 1 << 32);
    assert_eq!(request.filter.len() % 8, 0);
    assert!(request.filter.len() / 8 <= 4096, "what the kernel takes");
    let handled = request.landlock_files;
    whole(&request.landlock_rules, |from| {
        let access = from.u64();
        assert!(access != 0 && access & !handled == 0, "the kernel refuses such a rule: {access:#x}");
        assert!(from.text().to_bytes().starts_with(b"/"));
    });
    whole(&request.limits, |from| {
        let (resource, soft, hard) = (from.u32(), from.u64(), from.u64());
        assert_eq!(soft, hard);
        let below = resource != libc::RLIMIT_NOFILE || hard <= u64::from(request.program_fd);
        assert!(below, "the program cannot reach the number of its own descriptor");
    });
    whole(&request.sources, |from| {
        let source = SourceRecord::read(from);
        assert_eq!(source.attributes & NOSUID, NOSUID, "no set-id file ever counts");
        assert_eq!(source.flags & source::ID_MAPPED != 0, facts.root, "as root every grant is id-mapped");
    });
    let mut arguments = Vec::new();
    whole(&request.arguments, |from| arguments.push(OsStr::from_bytes(from.text().to_bytes()).to_owned()));
    let given = plan.program.arguments().iter().chain(&plan.arguments);
    assert!(arguments.iter().eq(given));
    whole(&request.environment, |from| assert!(from.text().to_bytes().contains(&b'=')));
    let made = build(&request);
    assert_eq!(made.contains(Path::new(".ringfence")), plan.layers.contains(Layer::Mount));
}

/// Reads everything that a parsed request holds, as the launcher would.
fn walk(bytes: &[u8]) {
    let Some(request) = Request::parse(bytes) else { return };
    let some = |count: u32| 0..count.min(5000);
    let mut from = request.sources.reader.clone();
    some(request.sources.count).for_each(|_| {
        let _any = SourceRecord::read(&mut from);
    });
    for records in
        [&request.steps, &request.arguments, &request.environment, &request.landlock_rules, &request.limits]
    {
        let mut from = records.reader.clone();
        some(records.count).for_each(|_| {
            let _any = (from.u32(), from.text(), from.u64(), from.blob());
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_can_be_read_and_built(plan in plans(), facts in facts(), counted: bool, shared: bool) {
        check(&plan, &facts, counted, if shared { NetworkFrom::Launcher } else { NetworkFrom::Fresh });
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        walk(&bytes);
        let mut with_magic = crate::wire::MAGIC.to_le_bytes().to_vec();
        with_magic.extend(&bytes);
        walk(&with_magic);
        let mut rest = &bytes[..];
        while let Some((_, tail)) = crate::wire::next_directory_entry(rest).filter(|(_, tail)| tail.len() < rest.len()) {
            rest = tail;
        }
    }

    #[test]
    fn a_damaged_request_is_read_or_refused(at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let plan = Plan::new(Program::find("sh".as_ref(), "/".as_ref()).unwrap());
        let facts = Facts::get();
        let launch = Launch { outside: (5, 6), cgroup_leaf: OsStr::new(""), cgroup_lines: 0, extra_flags: 0 };
        let whole = compile(&plan, facts, true, NetworkFrom::Fresh).unwrap().request(&plan, facts, &launch);
        let mut bytes = whole.clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        walk(&bytes);
        let short = &whole[..cut.index(whole.len())];
        prop_assert!(Request::parse(short).is_none(), "cut short");
        bytes = whole;
        bytes.push(0);
        prop_assert!(Request::parse(&bytes).is_none(), "something is left over");
    }
}
