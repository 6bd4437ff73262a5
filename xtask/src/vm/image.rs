//! The guest's disk: a Debian made with debootstrap, a kernel unpacked from its package, and one unit that runs
//! whatever the payload disk holds.
//!
//! The root is a real file system on a disk and not an initramfs, because a process whose root is the initramfs
//! cannot call pivot_root. The cloud kernel has NVMe and ext4 built in, so it needs no initramfs at all.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::process;
use crate::workspace;

/// The Debian release of the guest: the one that carries kernel 6.1 and systemd 252.
const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";

/// What the guest has besides Debian's essential packages. The tests that need more are not run in it.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "kmod",
    "passwd",
    "procps",
    "util-linux",
    "iproute2",
    "python3",
    "gcc",
    "libc6-dev",
];

/// Depends on the newest kernel of the release; that one is downloaded and unpacked, never installed.
const KERNEL: &str = "linux-image-cloud-amd64";

/// The ordinary user of the guest.
pub(super) const USER: &str = "tester";

/// Size of the file system; the file is sparse.
const SIZE: &str = "2G";

/// The search path inside the guest's tree; the caller's may not fit Debian.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the payload disk is mounted in the guest.
pub(super) const PAYLOAD: &str = "/opt/ringfence";

/// How the guest says with which status the job ended.
pub(super) const STATUS_MARK: &str = "@@ringfence-vm-status ";

/// The guest's one job. Closing the serial line waits until everything was sent; only then comes the power-off.
fn job_script() -> String {
    format!(
        "#!/bin/sh\n\
         exec </dev/null >/dev/ttyS1 2>&1\n\
         stty -F /dev/ttyS1 raw -echo\n\
         mount -o ro,nosuid /dev/nvme1n1 {PAYLOAD}\n\
         cd /tmp\n\
         sh {PAYLOAD}/job\n\
         echo \"{STATUS_MARK}$?\"\n\
         exec >/dev/null 2>&1\n\
         systemctl poweroff --force --force\n"
    )
}

const JOB_UNIT: &str = "[Unit]\n\
    Description=The job on the payload disk\n\
    After=basic.target dbus.socket\n\
    [Service]\n\
    Type=oneshot\n\
    Delegate=yes\n\
    Environment=HOME=/root\n\
    ExecStart=/usr/local/sbin/ringfence-job\n\
    [Install]\n\
    WantedBy=multi-user.target\n";

/// A disk and the kernel that boots it.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) disk: PathBuf,
    pub(super) kernel: PathBuf,
}

/// The image below `directory`, made if it is not there.
///
/// # Errors
/// When it has to be made and this is not root, or one of the programs that make it fails.
pub(super) fn provide(directory: &Path, rebuild: bool) -> Result<Image, Failure> {
    let home = directory.join(key());
    let image = Image { disk: home.join("root.ext4"), kernel: home.join("vmlinuz") };
    if !rebuild && image.disk.is_file() && image.kernel.is_file() {
        return Ok(image);
    }
    if !workspace::is_root() {
        let text = "the disk image is not there yet, and only root can make it; run `sudo cargo xtask vm -- true` once";
        return Err(Failure::Failed(text.to_owned()));
    }
    println!("making the disk image of the virtual machine (about a minute)");
    let staging = directory.join(format!("staging-{}", std::process::id()));
    let result = make(&staging).and_then(|()| {
        // Whoever else made it in the meantime made the same one.
        remove(&home)?;
        fs::rename(staging.join("image"), &home).map_err(|error| Failure::of(home.display(), error))
    });
    remove(&staging)?;
    result.map(|()| image)
}

/// A name that changes with the recipe, so that an old image is never taken for a new one.
fn key() -> String {
    let recipe = [SUITE, MIRROR, KERNEL, USER, SIZE, &job_script(), JOB_UNIT, &PACKAGES.join(" ")].join("\n");
    // FNV-1a: no secret depends on it, it only has to differ.
    let hash = recipe.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{SUITE}-{hash:016x}")
}

fn make(staging: &Path) -> Result<(), Failure> {
    let root = staging.join("root");
    let image = staging.join("image");
    for directory in [&root, &image] {
        fs::create_dir_all(directory).map_err(|error| Failure::of(directory.display(), error))?;
    }
    let include = format!("--include={}", PACKAGES.join(","));
    // In a mount namespace of its own: what debootstrap mounts in the tree is gone with it, even if it is killed.
    let mut debootstrap = process::program("unshare");
    debootstrap.args(["--mount", "debootstrap", "--variant=minbase", &include, SUITE]).arg(&root).arg(MIRROR);
    process::text(&mut debootstrap)?;
    kernel(staging, &root, &image)?;
    settle(&root)?;
    let disk = image.join("root.ext4");
    process::text(process::program("truncate").args(["--size", SIZE]).arg(&disk))?;
    file_system(&root, &disk)
}

/// Unpacks the kernel beside the tree and copies its modules in. Unpacking it into the tree would replace the link
/// /lib, and with it every program's loader.
fn kernel(staging: &Path, root: &Path, image: &Path) -> Result<(), Failure> {
    inside(root, &["apt-get", "--quiet", "update"])?;
    let depends = inside(root, &["apt-cache", "depends", KERNEL])?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .ok_or_else(|| Failure::Failed(format!("{KERNEL} depends on no kernel")))?;
    inside(root, &["sh", "-c", &format!("cd /tmp && apt-get --quiet download {package}")])?;
    let archive = only_entry(&root.join("tmp"))?;
    let unpacked = staging.join("kernel");
    process::text(process::program("dpkg-deb").arg("--extract").arg(&archive).arg(&unpacked))?;
    fs::remove_file(&archive).map_err(|error| Failure::of(archive.display(), error))?;
    let modules = only_entry(&unpacked.join("lib/modules"))?;
    let version = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let target = root.join("usr/lib/modules");
    fs::create_dir_all(&target).map_err(|error| Failure::of(target.display(), error))?;
    process::text(process::program("cp").arg("--archive").arg(&modules).arg(&target))?;
    inside(root, &["depmod", &version])?;
    let from = unpacked.join(format!("boot/vmlinuz-{version}"));
    fs::copy(&from, image.join("vmlinuz")).map_err(|error| Failure::of(from.display(), error))?;
    Ok(())
}

/// Everything that makes the tree this guest: its user, its job, and nothing that waits or talks at boot.
fn settle(root: &Path) -> Result<(), Failure> {
    inside(root, &["useradd", "--create-home", "--shell", "/bin/bash", USER])?;
    inside(root, &["apt-get", "clean"])?;
    for (path, text, mode) in [
        ("etc/hostname", "ringfence-vm\n", "0644"),
        ("etc/fstab", "", "0644"),
        ("etc/resolv.conf", "", "0644"),
        ("etc/systemd/system/ringfence-job.service", JOB_UNIT, "0644"),
        ("usr/local/sbin/ringfence-job", &job_script(), "0755"),
    ] {
        let path = root.join(path);
        fs::write(&path, text).map_err(|error| Failure::of(path.display(), error))?;
        process::text(process::program("chmod").arg(mode).arg(&path))?;
    }
    inside(root, &["mkdir", "-p", PAYLOAD])?;
    inside(root, &["systemctl", "enable", "ringfence-job.service"])?;
    inside(root, &["systemctl", "mask", "getty.target", "systemd-timesyncd.service", "apt-daily.timer"])?;
    Ok(())
}

/// Makes an ext4 file system in the file `disk` that holds `tree`, owners and modes included.
pub(super) fn file_system(tree: &Path, disk: &Path) -> Result<(), Failure> {
    process::text(process::program("mkfs.ext4").args(["-q", "-F", "-d"]).arg(tree).arg(disk)).map(|_| ())
}

/// Runs a program of the tree, in the tree.
fn inside(root: &Path, words: &[&str]) -> Result<String, Failure> {
    let mut command = process::program("chroot");
    command
        .arg(root)
        .args(words)
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive");
    process::text(&mut command)
}

fn only_entry(directory: &Path) -> Result<PathBuf, Failure> {
    let cannot = |error| Failure::of(directory.display(), error);
    let entries: Result<Vec<_>, _> = fs::read_dir(directory).map_err(cannot)?.collect();
    match entries.map_err(cannot)?.as_slice() {
        [entry] => Ok(entry.path()),
        entries => {
            Err(Failure::Failed(format!("{}: {} entries, not one", directory.display(), entries.len())))
        }
    }
}

fn remove(directory: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::of(directory.display(), error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_mounted_where_the_payload_says_and_reports_its_status_before_power_off() {
        let script = job_script();
        let at = |word: &str| script.find(word).unwrap();
        assert!(at(PAYLOAD) < at("sh /opt/ringfence/job"));
        assert!(at(STATUS_MARK) < at("poweroff"));
    }

    #[test]
    fn the_key_is_a_plain_file_name() {
        assert!(key().chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{}", key());
    }
}
