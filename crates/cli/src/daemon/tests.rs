//! A daemon that says what the test wants, over a real socket.

use super::*;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

/// Answers one connection after another, the first of which only looks whether somebody is there.
fn daemon(home: &Home, answers: Vec<Option<String>>) -> JoinHandle<Vec<String>> {
    home.create().unwrap();
    let listener = UnixListener::bind(socket(home)).unwrap();
    std::thread::spawn(move || {
        drop(listener.accept().unwrap());
        let mut asked = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            asked.push(request(&mut stream));
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).unwrap(),
                // Nothing, until the other side has given up.
                None => drop(stream.read(&mut [0; 1])),
            }
        }
        asked
    })
}

fn request(stream: &mut impl std::io::Read) -> String {
    let mut text = String::new();
    let mut block = [0; 1024];
    loop {
        let count = stream.read(&mut block).unwrap();
        text.push_str(std::str::from_utf8(&block[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return format!("{} {body}", head.lines().next().unwrap());
        }
    }
}

fn answer(status: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

fn hello(version: &str) -> Option<String> {
    answer("200 OK", &format!("{{\"status\":\"ok\",\"version\":\"{version}\"}}"))
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn home() -> (tempfile::TempDir, Home) {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path().join("home"));
    (dir, home)
}

const OWN: &str = env!("CARGO_PKG_VERSION");

#[test]
fn nobody_is_nobody_and_a_socket_that_was_left_behind_too() {
    let (_dir, home) = home();
    assert!(run(Daemon::find(&home)).unwrap().is_none());
    home.create().unwrap();
    drop(UnixListener::bind(socket(&home)).unwrap());
    assert!(socket(&home).exists());
    assert!(run(Daemon::find(&home)).unwrap().is_none());
    let long = Home::at(format!("/tmp/{}", "x".repeat(200)));
    assert!(run(Daemon::find(&long)).unwrap().is_none());
}

#[test]
fn another_version_is_refused_and_both_are_named() {
    let (_dir, home) = home();
    let serving = daemon(&home, vec![hello("99.0.0")]);
    let error = run(Daemon::find(&home)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotSupported);
    assert!(error.message().contains("99.0.0") && error.message().contains(OWN), "{error}");
    serving.join().unwrap();
}

#[test]
fn a_call_hands_on_what_was_written_and_answers_what_was_answered() {
    let (_dir, home) = home();
    let serving = daemon(&home, vec![hello(OWN), answer("200 OK", "{\"result\": {\"n\": 1.50e400}}")]);
    let result = run(async {
        let daemon = Daemon::find(&home).await.unwrap().unwrap();
        let arguments = RawValue::from_string("{\"big\":123456789012345678901234567890}".to_owned()).unwrap();
        let options = CallOptions { timeout: Some(Duration::from_secs(2)), ..CallOptions::default() };
        daemon.call("no/tes", "echo", &arguments, &options).await
    });
    assert_eq!(result.unwrap().get(), "{\"n\": 1.50e400}");
    let asked = serving.join().unwrap();
    assert_eq!(
        asked[1],
        "POST /api/v1/plugins/no%2Ftes/call HTTP/1.1 \
         {\"tool\":\"echo\",\"arguments\":{\"big\":123456789012345678901234567890},\"timeout_ms\":2000}"
    );
}

#[test]
fn a_refusal_keeps_its_code_message_and_hint() {
    let (_dir, home) = home();
    let refusal = "{\"error\":{\"code\":\"not_active\",\"message\":\"it is not\",\"hint\":\"do\",\"correlation_id\":\"1-1\"}}";
    let later =
        "{\"error\":{\"code\":\"of_tomorrow\",\"message\":\"new\",\"hint\":null,\"correlation_id\":\"\"}}";
    let answers =
        vec![hello(OWN), answer("409 Conflict", refusal), answer("499 X", later), answer("500 X", "<html>")];
    let serving = daemon(&home, answers);
    run(async {
        let daemon = Daemon::find(&home).await.unwrap().unwrap();
        let error = daemon.activate("notes").await.unwrap_err();
        assert_eq!(
            (error.code(), error.message(), error.hint()),
            (ErrorCode::NotActive, "it is not", Some("do"))
        );
        let error = daemon.deactivate("notes").await.unwrap_err();
        assert_eq!((error.code(), error.message()), (ErrorCode::Internal, "new"));
        assert!(daemon.list().await.unwrap_err().message().contains("HTTP status 500"));
    });
    assert_eq!(serving.join().unwrap()[1], "POST /api/v1/plugins/notes/activate HTTP/1.1 ");
}

#[test]
fn a_silent_daemon_is_not_waited_for_and_a_huge_answer_not_read() {
    let (_dir, home) = home();
    let huge = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", 1_u64 << 40, "x".repeat(17 << 20));
    home.create().unwrap();
    let listener = UnixListener::bind(socket(&home)).unwrap();
    let serving = std::thread::spawn(move || {
        drop(listener.accept().unwrap());
        let (mut silent, _) = listener.accept().unwrap();
        request(&mut silent);
        let (mut stream, _) = listener.accept().unwrap();
        request(&mut stream);
        // The other side stops reading: then this breaks.
        drop(stream.write_all(huge.as_bytes()));
        drop(silent);
    });
    run(async {
        let client = Client::connect(socket(&home)).await.unwrap().unwrap();
        let error = client.ask(Method::GET, "/health", None, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout);
        let error = client.ask(Method::GET, "/plugins", None, LOOK_WAIT).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::TooLarge, "{error}");
    });
    serving.join().unwrap();
}

#[test]
fn a_daemon_that_hangs_can_be_worked_around() {
    let daemon = Daemon {
        client: run(async {
            let (_dir, home) = home();
            home.create().unwrap();
            let _listener = UnixListener::bind(socket(&home)).unwrap();
            Client::connect(socket(&home)).await.unwrap().unwrap()
        }),
        silent: true,
    };
    assert_eq!(run(daemon.list()).unwrap_err().code(), ErrorCode::Timeout);
}

#[test]
fn a_name_is_one_part_of_a_path_whatever_is_in_it() {
    assert_eq!(segment("note.saved"), "note.saved");
    assert_eq!(segment(".."), "%2E%2E");
    assert_eq!(segment("a/../b?c#d %é"), "a%2F..%2Fb%3Fc%23d%20%25%C3%A9");
}
