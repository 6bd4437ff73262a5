//! `cargo xtask vm`: runs tests, or any command, in a small virtual machine with Debian's stable kernel, systemd
//! and cgroup v2.
//!
//! Machines that build this project often have another kernel, cgroup v1, or no systemd. The guest is what most
//! users have. It is emulated (no /dev/kvm is needed), boots in seconds and has no network. Start reading at
//! [`run`]; [`image`] makes the disk, [`payload`] puts in what is to be run, [`machine`] boots it.

mod image;
mod machine;
mod payload;

use std::time::Duration;

use crate::arguments::{Arguments, Grammar};
use crate::failure::Failure;
use crate::needs::{self, AskedBy};
use crate::workspace;
use machine::Machine;
use payload::Payload;

/// Guest memory; enough for tests that allocate up to their limit twice.
const MEMORY_MB: u64 = 2048;

/// Longest run of the guest, boot included.
const TIMEOUT_S: u64 = 1800;

pub(crate) const HELP: &str = "
cargo xtask vm [FLAGS] [-- CMD ARG...]

Boots Debian 12 (its cloud kernel 6.1, systemd, cgroup v2, no network) in qemu without KVM and runs in it
  - CMD, if one is given, or the file of --shell-file with bash;
  - else the whole-product tests and the sandbox's own tests, as root and as an ordinary user with a delegated
    cgroup, against the release binary (both are built first).
Output goes to stdout as it comes. The exit status is that of CMD; for tests 0 or 1.

  --shell-file FILE  run FILE with bash
  --user             run CMD or FILE as an ordinary user with a delegated cgroup, not as root
  --filter TEXT      run only tests whose name holds TEXT
  --memory MB        guest memory (default 2048)
  --timeout S        kill the guest after S seconds (default 1800)
  --rebuild          make the disk image anew

The release binary, if it is built, is in the guest at /opt/ringfence/bin/ringfence (RINGFENCE_BIN names it).
The disk image is made once, as root, with debootstrap, and kept in target/vm under a name made from its recipe; the
guest cannot change it. The log of the guest's kernel is target/vm/console.log.
";

pub(crate) fn run(given: &[String]) -> Result<(), Failure> {
    let grammar = Grammar {
        switches: &["--user", "--rebuild"],
        values: &["--shell-file", "--filter", "--memory", "--timeout"],
        program: true,
        words: 0,
    };
    let arguments = Arguments::parse(given, grammar)?;
    let machine = Machine {
        memory_mb: arguments.number("--memory", MEMORY_MB)?,
        timeout: Duration::from_secs(arguments.number("--timeout", TIMEOUT_S)?),
    };
    let account = if arguments.has("--user") { payload::Account::Ordinary } else { payload::Account::Root };
    needs::provide(&[AskedBy::Vm])?;
    let directory = workspace::target_dir()?.join("vm");
    let image = image::provide(&directory, arguments.has("--rebuild"))?;
    let payload = Payload::new(&directory)?;
    match (arguments.value("--shell-file"), arguments.program.as_slice()) {
        (Some(_), [_, ..]) => {
            return Err(Failure::Usage("`--shell-file` and `-- CMD` exclude each other".to_owned()));
        }
        (Some(file), []) => payload.shell_file(file, account)?,
        (None, []) => payload.tests(arguments.value("--filter"))?,
        (None, command) => payload.command(command, account)?,
    }
    match machine.boot(&image, &payload.disk()?, &directory.join("console.log"))? {
        0 => Ok(()),
        status => Err(Failure::Status(status)),
    }
}
