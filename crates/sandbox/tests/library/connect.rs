//! `connect` on the program's behalf: a socket file that lies in a read-only grant gives nothing away (attacks FS-20).

use std::io::Read as _;
use std::os::unix::net::{UnixDatagram, UnixListener};

use ringfence_sandbox::{Access, Layer, Object};

use crate::rig::{self, bare, both, found, only, plan, run};

const EACCES: i32 = 13;
const ECONNREFUSED: i32 = 111;

/// A listening socket that anybody may connect to.
fn service() -> (tempfile::TempDir, UnixListener, String) {
    use std::os::unix::fs::PermissionsExt as _;
    let place = rig::directory(0o777);
    let path = place.path().join("service.sock");
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (place, listener, path)
}

fn received(listener: &UnixListener) -> bool {
    let Ok((mut stream, _)) = listener.accept() else { return false };
    let mut byte = [0; 1];
    stream.read_exact(&mut byte).is_ok() && byte == *b"x"
}

#[test]
fn a_read_only_grant_does_not_give_its_sockets_away() {
    both(|| {
        let (place, listener, path) = service();
        assert!(bare(&["connect", &path]).ends_with("ok connected\n") && received(&listener));
        let mut denied_plan = plan(&["connect", &path]);
        denied_plan.mount(found(place.path()), Access::READ);
        let denied = run(&denied_plan);
        assert_eq!(denied.errno(), Some(EACCES), "{denied:?}");
        assert!(!received(&listener));
        let [told] = &denied.refusals[..] else { panic!("{denied:?}") };
        assert_eq!((told.operation, &told.object), ("connect", &Object::Path(path.clone().into())));
        // It is PID 1 that holds this: without the filter the read-only mount lets the connect through.
        let mut plan = only(&[Layer::Mount], &["connect", &path]);
        plan.mount(found(place.path()), Access::READ);
        assert!(run(&plan).is_ok() && received(&listener));
    });
}

#[test]
fn no_detour_reaches_it() {
    both(|| {
        let (place, listener, path) = service();
        let directory = place.path().to_str().unwrap();
        let attempts: [&[&str]; 4] = [
            &["connect-link", &path, "/tmp/link"],
            &["connect-from", directory, "service.sock"],
            &["connect-from", directory, "./../../tmp/../proc/self/cwd/service.sock"],
            &["connect-from", "/tmp", "/proc/self/root/../dev/fd/../cwd/service.sock"],
        ];
        for words in attempts {
            let mut plan = plan(words);
            plan.mount(found(place.path()), Access::READ);
            let denied = run(&plan);
            assert!(denied.errno().is_some(), "{words:?}: {denied:?}");
            assert!(!received(&listener), "{words:?}");
        }
        // The detours themselves work where the socket may be used.
        for words in &attempts[..2] {
            let mut plan = plan(words);
            plan.mount(found(place.path()), Access::READ_WRITE);
            let granted = run(&plan);
            assert!(granted.is_ok() && received(&listener), "{words:?}: {granted:?}");
        }
    });
}

#[test]
fn a_writable_grant_gives_it() {
    both(|| {
        let (place, listener, path) = service();
        let mut plan = plan(&["connect", &path]);
        plan.mount(found(place.path()), Access::READ_WRITE);
        let granted = run(&plan);
        assert!(granted.is_ok(), "{granted:?}");
        assert!(received(&listener));
    });
}

#[test]
fn own_sockets_connect() {
    both(|| {
        assert!(run(&plan(&["connect-own", "/tmp/own.sock"])).is_ok());
        assert!(run(&plan(&["connect-own", "@own"])).is_ok(), "abstract names of the own sandbox");
        assert_eq!(run(&plan(&["connect", "@nobody"])).errno(), Some(ECONNREFUSED));
    });
}

#[test]
fn datagrams_could_name_any_socket_and_are_not_there() {
    both(|| {
        let place = rig::directory(0o777);
        let path = place.path().join("datagram.sock");
        let service = UnixDatagram::bind(&path).unwrap();
        service.set_nonblocking(true).unwrap();
        let path = path.to_str().unwrap();
        let mut plan = plan(&["datagram", path]);
        plan.mount(found(place.path()), Access::READ_WRITE);
        let denied = run(&plan);
        assert_eq!(denied.errno(), Some(EACCES), "{denied:?}");
        assert!(service.recv(&mut [0; 8]).is_err());
        assert!(matches!(denied.refusals[0].object, Object::Socket { family: 1, kind: 2, .. }));
    });
}

#[test]
fn internet_addresses_are_told() {
    both(|| {
        let denied = run(&plan(&["tcp", "192.0.2.1", "443"]));
        assert_eq!(denied.errno(), Some(EACCES));
        assert_eq!(denied.refusals[0].object.to_string(), "192.0.2.1:443");
        assert_eq!(denied.refusals[0].layer, Layer::Network);
    });
}
