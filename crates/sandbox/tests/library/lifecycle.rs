//! Endings: the stop ladder, what tries to stay, a host that is killed.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio as Streams;
use std::time::{Duration, Instant};

use ringfence_sandbox::{Ending, LaunchError, Launcher, Layer, Layers, Plan, Processes, Sandbox, Stdio};

use crate::rig::{self, both, children, command, files, finish, launcher, plan, processes_with, run, within};

const SIGTERM: i32 = 15;
const SOON: Duration = Duration::from_secs(5);

/// Starts a plan that says one line when it is where the case wants it, and waits for the line.
fn started(plan: &Plan, line: &str) -> (Sandbox, std::fs::File, std::fs::File) {
    let (stdio, out, errors) = files();
    let sandbox = launcher().launch(plan, stdio).unwrap();
    within(SOON, line, || rig::text_of(&out).contains(line));
    (sandbox, out, errors)
}

fn with_processes(words: &[&str]) -> Plan {
    let mut plan = plan(words);
    plan.processes(Processes::Allowed);
    plan
}

#[test]
fn a_program_that_obeys_ends_at_once() {
    both(|| {
        let (mut sandbox, ..) = started(&plan(&["pause"]), "paused");
        let start = Instant::now();
        assert_eq!(sandbox.stop(Duration::from_secs(3)).unwrap(), Ending::Signaled(SIGTERM));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    });
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_at_the_end_of_its_grace() {
    both(|| {
        let grace = Duration::from_millis(700);
        for word in ["ignore-term", "fork-on-term"] {
            let token = rig::token(word);
            let (mut sandbox, ..) = started(&with_processes(&[word, &token]), "staying");
            assert!(processes_with(&token) >= 1);
            let start = Instant::now();
            assert_eq!(sandbox.stop(grace).unwrap(), Ending::Killed);
            let took = start.elapsed();
            assert!(took >= grace && took < grace + Duration::from_millis(500), "{word}: {took:?}");
            assert_eq!(processes_with(&token), 0, "{word}");
        }
    });
}

#[test]
fn a_stopped_program_still_learns_that_it_shall_end() {
    both(|| {
        let (mut sandbox, ..) = started(&plan(&["stop-self"]), "stopping");
        let start = Instant::now();
        assert_eq!(sandbox.stop(Duration::from_secs(3)).unwrap(), Ending::Signaled(SIGTERM));
        assert!(start.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn what_left_its_parent_and_session_is_gone() {
    both(|| {
        let token = rig::token("leave");
        let bare = command(rig::probe()).args(["leave-behind", &token]).status().unwrap();
        assert!(bare.success());
        within(SOON, "outside it stays", || processes_with(&token) == 1);
        end_process_with(&token);
        assert!(run(&with_processes(&["leave-behind", &token])).is_ok());
        assert_eq!(processes_with(&token), 0, "nothing may live when wait has returned");
    });
}

fn end_process_with(token: &str) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line.split(|byte| *byte == 0).any(|argument| argument == token.as_bytes()) {
            let pid = entry.file_name().to_string_lossy().parse().unwrap();
            rustix::process::kill_process(
                rustix::process::Pid::from_raw(pid).unwrap(),
                rustix::process::Signal::KILL,
            )
            .unwrap();
        }
    }
    within(SOON, "it is killed", || processes_with(token) == 0);
}

#[test]
fn dropping_kills() {
    both(|| {
        let token = rig::token("drop");
        let _ready = launcher();
        let before = rig::holdings();
        let (sandbox, out, errors) = started(&with_processes(&["ignore-term", &token]), "staying");
        assert_eq!(processes_with(&token), 2);
        drop((sandbox, out, errors));
        assert_eq!(processes_with(&token), 0);
        assert_eq!(rig::holdings(), before);
        let (sandbox, ..) = started(&with_processes(&["ignore-term", &token]), "staying");
        sandbox.close().unwrap();
        assert_eq!(processes_with(&token), 0);
    });
}

/// Without a pid namespace the program dies with its supervisor too.
#[test]
fn a_weakened_sandbox_leaves_nothing_either() {
    both(|| {
        let token = rig::token("weak");
        let mut plan = plan(&["pause", &token]);
        // /proc cannot be mounted without a pid namespace of its own.
        plan.weaken(Layers::of(&[Layer::Pid, Layer::Mount]));
        let (sandbox, ..) = started(&plan, "paused");
        assert_eq!(processes_with(&token), 1);
        drop(sandbox);
        within(Duration::from_secs(1), "it is gone", || processes_with(&token) == 0);
    });
}

/// Dropping a launcher is quick and takes nothing away from what it started.
#[test]
fn sandboxes_outlive_their_launcher() {
    both(|| {
        let own = Launcher::start().unwrap();
        let (stdio, out, errors) = files();
        let sandbox = own.launch(&plan(&["pause"]), stdio).unwrap();
        within(SOON, "it runs", || rig::text_of(&out).contains("paused"));
        let start = Instant::now();
        drop(own);
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
        assert!(sandbox.terminate().is_ok());
        assert_eq!(finish(sandbox, &out, &errors).ending, Ending::Signaled(SIGTERM));
        assert!(children().is_empty() && rig::leaves_of(std::process::id()).is_empty());
    });
}

/// A launcher that is killed takes no sandbox with it, and says so to the next launch.
#[test]
fn a_killed_launcher_is_an_error_and_no_hang() {
    use rustix::process::{Pid, Signal, kill_process};
    both(|| {
        let own = Launcher::start().unwrap();
        let [process] = children()[..] else { panic!("the launcher is the only child") };
        let (stdio, out, errors) = files();
        let sandbox = own.launch(&plan(&["pause"]), stdio).unwrap();
        within(SOON, "it runs", || rig::text_of(&out).contains("paused"));
        kill_process(Pid::from_raw(process).unwrap(), Signal::KILL).unwrap();
        let error =
            own.launch(&plan(&["true"]), Stdio::null().unwrap()).expect_err("nobody is there to launch it");
        assert!(matches!(error, LaunchError::Launcher { .. }), "{error:?}");
        sandbox.terminate().unwrap();
        assert_eq!(finish(sandbox, &out, &errors).ending, Ending::Signaled(SIGTERM));
        drop(own);
        assert!(children().is_empty() && rig::leaves_of(std::process::id()).is_empty());
    });
}

/// Whoever kills PID 1 (the kernel, for lack of memory) ends everything.
#[test]
fn a_killed_pid_1_ends_everything() {
    use rustix::process::{Pid, Signal, kill_process};
    both(|| {
        let _ready = launcher();
        let before = children();
        let token = rig::token("init");
        let (mut sandbox, ..) = started(&with_processes(&["ignore-term", &token]), "staying");
        let init = children().into_iter().find(|pid| !before.contains(pid)).unwrap();
        kill_process(Pid::from_raw(init).unwrap(), Signal::KILL).unwrap();
        assert_eq!(sandbox.wait().unwrap(), Ending::Killed);
        assert_eq!(processes_with(&token), 0);
    });
}

/// Stopping and continuing PID 1 (a frozen machine, an administrator) must not end the sandbox.
#[test]
fn pid_1_can_be_stopped_and_continued() {
    use rustix::process::{Pid, Signal, kill_process};
    both(|| {
        let before = {
            launcher();
            children()
        };
        let (mut sandbox, ..) = started(&plan(&["pause"]), "paused");
        let [init] = children().into_iter().filter(|pid| !before.contains(pid)).collect::<Vec<_>>()[..]
        else {
            panic!("one child more")
        };
        let pid = Pid::from_raw(init).unwrap();
        let state = || {
            let text = std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap();
            text[text.rfind(')').unwrap() + 2..].chars().next().unwrap()
        };
        for _ in 0..3 {
            kill_process(pid, Signal::STOP).unwrap();
            within(SOON, "it is stopped", || state() == 'T');
            kill_process(pid, Signal::CONT).unwrap();
            within(SOON, "it waits again", || state() == 'S');
        }
        assert_eq!(sandbox.try_wait().unwrap(), None);
        assert_eq!(sandbox.stop(Duration::from_secs(3)).unwrap(), Ending::Signaled(SIGTERM));
    });
}

#[test]
fn a_killed_host_leaves_nothing() {
    both(|| {
        if let Some(token) = rig::role() {
            let mut held = Vec::new();
            for _ in 0..3 {
                let (stdio, out, _) = files();
                held.push(launcher().launch(&with_processes(&["ignore-term", &token]), stdio).unwrap());
                within(SOON, "it stays", || rig::text_of(&out).contains("staying"));
            }
            println!("ready");
            loop {
                std::thread::park();
            }
        }
        let token = rig::token("host");
        let mut host = rig::with_role("lifecycle::a_killed_host_leaves_nothing", &token)
            .stdout(Streams::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("ready")));
        assert_eq!(processes_with(&token), 6);
        let has_leaves = !rig::leaves_of(host.id()).is_empty();
        assert!(
            has_leaves || !rig::is_root() || !std::path::Path::new("/sys/fs/cgroup/memory/tasks").exists()
        );
        host.kill().unwrap();
        within(Duration::from_secs(1), "every process is gone", || processes_with(&token) == 0);
        within(Duration::from_secs(2), "every cgroup is gone", || rig::leaves_of(host.id()).is_empty());
        host.wait().unwrap();
    });
}

#[test]
fn events_and_waiting_from_outside() {
    both(|| {
        let (mut sandbox, ..) = started(&plan(&["pause"]), "paused");
        assert!(format!("{sandbox:?}").contains("Sandbox") && sandbox.lost() == 0);
        assert_eq!(sandbox.try_wait().unwrap(), None);
        assert!(!sandbox.read_events().unwrap());
        sandbox.terminate().unwrap();
        let mut wanted =
            rustix::event::PollFd::from_borrowed_fd(sandbox.pidfd(), rustix::event::PollFlags::IN);
        rustix::event::poll(std::slice::from_mut(&mut wanted), None).unwrap();
        assert_eq!(sandbox.try_wait().unwrap(), Some(Ending::Signaled(SIGTERM)));
        assert!(sandbox.read_events().unwrap(), "there will be no more");
        assert!(sandbox.terminate().is_ok() && sandbox.kill().is_ok(), "no error because it has ended");
        assert_eq!(sandbox.stop(Duration::ZERO).unwrap(), Ending::Signaled(SIGTERM));
    });
}

/// Statuses and signals are the kernel's facts.
#[test]
fn endings_are_facts() {
    both(|| {
        let shell = |script: &str| {
            let mut plan = Plan::new(ringfence_sandbox::Program::find("sh".as_ref(), "/".as_ref()).unwrap());
            plan.argument("-c").argument(script);
            launcher().launch(&plan, Stdio::null().unwrap()).unwrap().wait().unwrap()
        };
        assert_eq!(shell("exit 7"), Ending::Exited(7));
        assert_eq!(shell("kill -9 $$"), Ending::Signaled(9));
        assert_eq!(shell("kill -SEGV $$"), Ending::Signaled(11));
    });
}
