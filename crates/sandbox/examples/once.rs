//! Runs one command in a sandbox with every layer and no grant: `cargo run -p ringfence-sandbox --example once -- ls /`.

#![expect(clippy::print_stderr, reason = "an example talks to a person")]

use std::error::Error;
use std::path::Path;

use ringfence_sandbox::{Launcher, Plan, Processes, Program, Stdio};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let command = words.next().ok_or("usage: once COMMAND [ARGUMENT]...")?;
    let mut plan = Plan::new(Program::find(&command, Path::new("/"))?);
    words.for_each(|word| {
        plan.argument(word);
    });
    if std::env::var_os("PROCESSES").is_some() {
        plan.processes(Processes::Allowed);
    }
    let launcher = Launcher::start()?;
    let mut sandbox = launcher.launch(&plan, Stdio::inherit()?)?;
    let ending = sandbox.wait()?;
    eprintln!("{ending:?}; enforced: {}; {:?}", sandbox.report().layers, sandbox.usage());
    for refusal in sandbox.refusals() {
        eprintln!("refused: {refusal:?}");
    }
    Ok(())
}
