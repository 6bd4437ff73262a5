//! What people run must work inside: interpreters, shells, compilers, a JVM.

use ringfence_testkit::{Run, World, lacks, users};
use std::process::Command;
use std::time::Duration;

const PYTHON: &str = "/usr/bin/python3";
const FORK: &[&str] = &["--grant", "subprocess:execute"];

fn works(flags: &[&str], words: &[&str], expected: &str) {
    for who in users() {
        let world = World::new(who);
        let run = world.exec(flags, words).run();
        assert!(run.code == Some(0) && run.out().contains(expected), "{words:?} as {who:?}\n{run}");
    }
}

fn python(flags: &[&str], program: &str, expected: &str) {
    if !lacks(PYTHON) {
        works(flags, &[PYTHON, "-c", program], expected);
    }
}

#[test]
fn python_and_its_library() {
    python(
        &[],
        "import json, ssl, sqlite3, ctypes, decimal, hashlib, lzma; print(sqlite3.connect(':memory:').execute('select 6*7').fetchone())",
        "(42,)",
    );
    python(
        &[],
        "import threading; t=[threading.Thread(target=print, args=(i,)) for i in range(8)]; [x.start() for x in t]; [x.join() for x in t]; print('done')",
        "done",
    );
    python(&[], "import asyncio; print(asyncio.run(asyncio.sleep(0.01, 'slept')))", "slept");
    python(&[], "import sys; print(sys.executable); print(sys.version_info[0] == 3)", "True");
}

#[test]
fn the_user_has_a_name_and_a_home() {
    python(
        &[],
        "import pwd, os; e = pwd.getpwuid(os.getuid()); print('name', bool(e.pw_name), os.path.isdir(e.pw_dir) or e.pw_dir)",
        "name True",
    );
    python(&[], "import grp, os; print('group', bool(grp.getgrgid(os.getgid()).gr_name))", "group True");
    python(&[], "import os.path; p = os.path.expanduser('~'); print('home', p.startswith('/'))", "home True");
    python(&[], "import os; print('uid', os.getuid() != 0)", "uid True");
}

#[test]
fn processes_with_the_grant_and_not_without() {
    let pool = "import multiprocessing as m\nprint(sum(m.Pool(2).map(abs, [-1, -2, -3])))";
    python(FORK, pool, "6");
    python(
        FORK,
        "import subprocess; print(subprocess.run(['/bin/echo', 'child'], capture_output=True).stdout)",
        "child",
    );
    if lacks(PYTHON) {
        return;
    }
    for who in users() {
        let run = World::new(who)
            .exec(&[], &[PYTHON, "-c", "import subprocess; subprocess.run(['/bin/echo', 'child'])"])
            .run();
        assert!(run.code != Some(0) && !run.out().contains("child"), "as {who:?}\n{run}");
        assert!(run.err().contains("Error"), "an error, not a hang or a kill\n{run}");
    }
}

#[test]
fn locale_time_zones_and_temporary_files() {
    python(
        &["--env", "LANG=C.UTF-8"],
        "import locale; print(locale.setlocale(locale.LC_ALL, '')); print('ü')",
        "ü",
    );
    python(
        &[],
        "import zoneinfo, datetime; print(datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo('UTC')).isoformat())",
        "2026-07-01T00:00:00+00:00",
    );
    if std::path::Path::new("/usr/share/zoneinfo/Europe/Berlin").exists() {
        python(
            &[],
            "import zoneinfo, datetime; print(datetime.datetime(2026, 7, 1, tzinfo=zoneinfo.ZoneInfo('Europe/Berlin')).utcoffset())",
            "2:00:00",
        );
    }
    python(
        &[],
        "import tempfile, os; f = tempfile.NamedTemporaryFile(); f.write(b'x' * 100000); f.flush(); print(os.path.getsize(f.name))",
        "100000",
    );
    python(
        &[],
        "import tempfile, os; d = tempfile.mkdtemp(); os.makedirs(d + '/a/b'); os.rename(d + '/a', d + '/c'); print(os.listdir(d))",
        "['c']",
    );
    // Its resource tracker is a process.
    python(
        FORK,
        "import multiprocessing.shared_memory as s; m = s.SharedMemory(create=True, size=4096); m.buf[0] = 7; print('shm', m.buf[0]); m.close(); m.unlink()",
        "shm 7",
    );
}

#[test]
fn devices() {
    python(
        &[],
        "open('/dev/null','w').write('x'); print(len(open('/dev/zero','rb').read(16)), len(open('/dev/urandom','rb').read(16)))",
        "16 16",
    );
    python(
        &[],
        "import os; print(os.path.exists('/dev/stdin'), os.path.exists('/dev/fd'), os.path.exists('/dev/shm'))",
        "True True True",
    );
    python(&[], "import sys; open('/dev/stdout','w').write('by name\\n')", "by name");
    python(
        &[],
        "import errno\ntry: open('/dev/full','w', buffering=1).write('x\\n')\nexcept OSError as e: print('full', e.errno == errno.ENOSPC)",
        "full True",
    );
    python(
        &[],
        "import os; print('cpus', os.cpu_count() > 0, len(os.sched_getaffinity(0)) > 0)",
        "cpus True True",
    );
}

#[test]
fn python_scripts_and_packages_in_a_grant() {
    if lacks(PYTHON) {
        return;
    }
    for who in users() {
        let world = World::new(who);
        world.put("data/grant/helper.py", "def word():\n    return 'from-helper'\n");
        world.put("data/grant/main.py", "import helper, sys\nprint(helper.word(), sys.argv[1:])\n");
        world.put_script("data/grant/run", "#!/usr/bin/env python3\nprint('by env')\n");
        world.put_script("data/grant/direct", "#!/usr/bin/python3\nprint('by path')\n");
        let run = world.exec(&["--ro", "{grant}"], &[PYTHON, "{grant}/main.py", "x"]).run();
        assert!(run.out().contains("from-helper ['x']"), "as {who:?}\n{run}");
        let run = world.exec(&["--ro", "{grant}"], &["{grant}/direct"]).run();
        assert!(run.out().contains("by path"), "a script by its interpreter line, as {who:?}\n{run}");
        let run = world.exec(&["--ro", "{grant}"], &["{grant}/run"]).run();
        assert!(run.out().contains("by env"), "a script by env, as {who:?}\n{run}");
        let left = ringfence_testkit::post::names(&world.path("data/grant"));
        assert!(!left.contains(&"__pycache__".to_owned()), "litter: {left:?}");
    }
}

#[test]
fn node() {
    if lacks("node") {
        return;
    }
    works(
        &[],
        &["node", "-e", "console.log('sum', [1,2,3].reduce((a,b)=>a+b), require('os').cpus().length > 0)"],
        "sum 6 true",
    );
    works(
        &[],
        &[
            "node",
            "-e",
            "require('fs').writeFileSync('/tmp/x','y'); console.log(require('crypto').createHash('sha256').update('x').digest('hex').length)",
        ],
        "64",
    );
    works(
        &[],
        &[
            "node",
            "-e",
            "const {Worker}=require('worker_threads'); new Worker('require(\"worker_threads\").parentPort.postMessage(7)',{eval:true}).on('message',m=>console.log('worker',m))",
        ],
        "worker 7",
    );
    works(
        &[],
        &[
            "node",
            "-e",
            "setTimeout(()=>console.log('later'), 20); Promise.resolve().then(()=>console.log('soon'))",
        ],
        "later",
    );
    works(&[], &["node", "-e", "console.log(os.userInfo().username.length > 0)"], "true");
    works(
        FORK,
        &[
            "node",
            "-e",
            "console.log(require('child_process').execFileSync('/bin/echo',['child']).toString())",
        ],
        "child",
    );
    for who in users() {
        let run = World::new(who)
            .exec(&[], &["node", "-e", "require('child_process').execFileSync('/bin/echo',['child'])"])
            .run();
        assert!(run.code != Some(0) && !run.out().contains("child"), "as {who:?}\n{run}");
    }
}

fn shell(program: &str, expected: &str) {
    works(FORK, &["bash", "-c", program], expected);
}

#[test]
fn shells_and_pipelines() {
    if lacks("bash") {
        return;
    }
    shell("echo one two | tr a-z A-Z | sed 's/ /-/'", "ONE-TWO");
    shell("seq 1 20000 | sort -rn | head -1; echo ${PIPESTATUS[@]}", "20000");
    shell("cat <<EOF\nhere $((6*7))\nEOF", "here 42");
    shell("diff <(echo a) <(echo a) && echo same", "same");
    shell("x=$(date +%Y); [ $x -gt 2000 ] && echo year", "year");
    shell("sleep 5 & kill $!; wait; echo job", "job");
    shell("cd /tmp && mkdir d && echo x > d/f && cp d/f d/g && mv d/g d/h && rm d/f && ls d", "h");
    shell("find /usr/bin -maxdepth 1 -name env | xargs -n1 basename", "env");
    shell("trap 'echo trapped' EXIT; ulimit -n >/dev/null; (exit 3); echo $?", "trapped");
    works(&[], &["bash", "-c", "echo builtin only; [ -e /etc/passwd ] && echo ok"], "ok");
    works(&[], &["sh", "-c", "echo plain"], "plain");
    works(&[], &["/bin/cat", "/etc/passwd"], ":");
}

#[test]
fn a_go_program() {
    if lacks("go") {
        return;
    }
    let world = World::new(users()[0]);
    let source = "package main\nimport (\"os\"; \"runtime\")\nfunc main() {\n c := make(chan int)\n for i := 0; i < 50; i++ { go func() { c <- 1 }() }\n n := 0\n for i := 0; i < 50; i++ { n += <-c }\n e, err := os.Executable()\n println(e)\n if err != nil { os.Exit(4) }\n os.Stdout.WriteString(\"go \" + runtime.GOOS)\n if n != 50 { os.Exit(3) }\n}\n";
    world.put("data/main.go", source);
    let program = world.path("data/go-program");
    #[expect(clippy::disallowed_methods, reason = "the harness builds a fixture on the host")]
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(world.path("data/main.go"))
        .env("GO111MODULE", "off")
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", world.rig().worlds().join("go-cache"))
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "")
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    for who in users() {
        let there = World::new(who);
        there.put_program(&program, "data/go-program");
        let run = there.exec(&["--ro", "{data}/go-program"], &["{data}/go-program"]).run();
        assert!(run.out().contains("go linux") && run.code == Some(0), "as {who:?}\n{run}");
    }
}

#[test]
fn a_java_machine() {
    if lacks("java") {
        return;
    }
    let _alone = ringfence_testkit::one_at_a_time();
    for who in users() {
        let world = World::new(who);
        let run: Run =
            world.exec(&[], &["java", "-Xmx64m", "-version"]).deadline(Duration::from_secs(40)).run();
        assert!(run.code == Some(0) && run.err().contains("version"), "as {who:?}\n{run}");
        if lacks("javac") {
            continue;
        }
        world.put("data/grant/Hello.java", "public class Hello { public static void main(String[] a) throws Exception { Thread t = new Thread(() -> System.out.println(\"java \" + a[0])); t.start(); t.join(); java.nio.file.Files.createTempFile(\"x\", \"y\"); System.out.println(Runtime.getRuntime().availableProcessors() > 0); } }");
        let run = world
            .exec(&["--ro", "{grant}"], &["java", "-Xmx128m", "{grant}/Hello.java", "world"])
            .deadline(Duration::from_secs(60))
            .run();
        assert!(
            run.code == Some(0) && run.out().contains("java world") && run.out().contains("true"),
            "as {who:?}\n{run}"
        );
    }
}

#[test]
fn a_compiler_and_what_it_builds() {
    for who in users() {
        let world = World::new(who);
        world.put(
            "data/grant/hello.c",
            "#include <stdio.h>\nint main(void) { puts(\"compiled\"); return 0; }\n",
        );
        let flags = &["--rw", "{grant}", "--grant", "subprocess:execute={grant}/**"];
        let run =
            world.exec(flags, &["sh", "-c", "cc -o {grant}/hello {grant}/hello.c && {grant}/hello"]).run();
        assert!(run.code == Some(0) && run.out().contains("compiled"), "as {who:?}\n{run}");
    }
}

#[test]
fn git_in_a_write_grant() {
    if lacks("git") {
        return;
    }
    for who in users() {
        let world = World::new(who);
        let program = "cd {grant} && git init -q . && git -c user.name=a -c user.email=a@b add -A && git -c user.name=a -c user.email=a@b commit -qm first && git log --oneline && git status --short && git gc -q && echo finished";
        let run =
            world.exec(&["--rw", "{grant}", "--grant", "subprocess:execute"], &["sh", "-c", program]).run();
        assert!(
            run.code == Some(0) && run.out().contains("first") && run.out().contains("finished"),
            "as {who:?}\n{run}"
        );
    }
}
