//! The running guest: starts qemu, passes on what the job writes, and finds out how it ended.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::image::{Image, STATUS_MARK};
use crate::failure::Failure;
use crate::process;

/// How long the guest may take to power off after its job ended.
const POWER_OFF: Duration = Duration::from_secs(30);

/// Lines that wait for this chore to print them; a full queue slows the guest down, nothing is lost.
const LINES_QUEUED: usize = 1024;

/// Lines of the kernel's log that are shown when the guest ends without a word.
const LOG_LINES: usize = 30;

/// What the guest gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    pub(super) memory_mb: u64,
    pub(super) timeout: Duration,
}

impl Machine {
    /// Boots, prints what the job writes, and hands back the job's exit status.
    ///
    /// # Errors
    /// When qemu cannot be started, or the guest ends, or is killed at the timeout, before the job has ended.
    pub(super) fn boot(self, image: &Image, payload: &Path, console: &Path) -> Result<u8, Failure> {
        let start = Instant::now();
        let mut command = self.command(image, payload, console);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::of("qemu-system-x86_64", error))?;
        let lines = lines_of(&mut child);
        let status = follow(&lines, start + self.timeout);
        let deadline = if status.is_ok() { Instant::now() + POWER_OFF } else { Instant::now() };
        process::wait_until(&mut child, deadline)
            .map_err(|error| Failure::of("qemu-system-x86_64", error))?;
        println!("virtual machine: {:.1} s", start.elapsed().as_secs_f64());
        status.map_err(|why| {
            let log = fs::read_to_string(console).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let end = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default().join("\n");
            Failure::Failed(format!("{why}; the end of {}:\n{end}", console.display()))
        })
    }

    fn command(self, image: &Image, payload: &Path, console: &Path) -> Command {
        let mut command = process::program("qemu-system-x86_64");
        // Emulated on purpose: /dev/kvm is absent or unusable on many build machines, and results must not differ.
        command.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"]);
        command.args(["-m", &self.memory_mb.to_string(), "-nodefaults", "-no-reboot", "-display", "none"]);
        command.arg("-kernel").arg(&image.kernel);
        command.args([
            "-append",
            "root=/dev/nvme0n1 rw console=ttyS0 systemd.show_status=no loglevel=5 panic=-1",
        ]);
        for (name, path, mode) in
            [("root", image.disk.as_path(), "snapshot=on"), ("payload", payload, "readonly=on")]
        {
            command.arg("-drive").arg(format!("if=none,id={name},format=raw,{mode},file={}", path.display()));
            command.arg("-device").arg(format!("nvme,drive={name},serial={name}"));
        }
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.args(["-serial", "stdio"]);
        command
    }
}

fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(LINES_QUEUED);
    if let Some(pipe) = child.stdout.take() {
        // Ends with the pipe, and so with the guest.
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// Prints lines until the one with the status.
fn follow(lines: &Receiver<String>, deadline: Instant) -> Result<u8, &'static str> {
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => match line.split_once(STATUS_MARK) {
                None => println!("{line}"),
                Some((before, status)) => {
                    // Output that did not end with a line break stands before the mark.
                    if !before.is_empty() {
                        println!("{before}");
                    }
                    return status.trim().parse().map_err(|_| "the guest reported a strange status");
                }
            },
            Err(RecvTimeoutError::Timeout) => return Err("the guest was killed at the timeout (--timeout)"),
            Err(RecvTimeoutError::Disconnected) => return Err("the guest ended before its job"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(lines: &[&str]) -> Result<u8, &'static str> {
        let (sender, receiver) = mpsc::sync_channel(LINES_QUEUED);
        for line in lines {
            sender.send((*line).to_owned()).unwrap();
        }
        drop(sender);
        follow(&receiver, Instant::now() + Duration::from_secs(30))
    }

    #[test]
    fn the_status_is_found_even_behind_an_unfinished_line() {
        assert_eq!(followed(&["a", &format!("{STATUS_MARK}0")]), Ok(0));
        assert_eq!(followed(&[&format!("no line break{STATUS_MARK}7")]), Ok(7));
    }

    #[test]
    fn a_guest_that_ends_or_hangs_without_a_status_is_a_failure() {
        assert!(followed(&["a"]).unwrap_err().contains("ended before"));
        assert!(followed(&[&format!("{STATUS_MARK}x")]).unwrap_err().contains("strange"));
        let (_sender, receiver) = mpsc::sync_channel(LINES_QUEUED);
        assert!(follow(&receiver, Instant::now()).unwrap_err().contains("timeout"));
    }
}
