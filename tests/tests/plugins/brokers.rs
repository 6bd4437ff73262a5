//! NET and DB: what a plugin asks the host to fetch or to query on its behalf, as everyone. What is refused reaches no server and no
//! table, and each refusal has its twin.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ringfence_testkit::users;
use serde_json::{Value, json};

use crate::place::Place;

pub(crate) const NOT_GRANTED: i64 = -31001;

/// A web server on loopback that gives one text for every path; how often somebody came.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    came: Arc<AtomicUsize>,
}

impl Web {
    pub(crate) fn start(address: &str, answer: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let web = Self { address: listener.local_addr().unwrap(), came: Arc::default() };
        let came = Arc::clone(&web.came);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                came.fetch_add(1, Ordering::SeqCst);
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let mut head = [0; 4096];
                let length = stream.read(&mut head).unwrap_or(0);
                let line = String::from_utf8_lossy(&head[..length]).into_owned();
                let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                // Whoever asks may have gone.
                let _gone = stream.write_all(answer(&path).as_bytes());
            }
        });
        web
    }

    pub(crate) fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

pub(crate) fn ok(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())
}

pub(crate) fn moved(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

/// A name server that gives each question for an IPv4 address the next of these, again and again.
fn names(answers: [Ipv4Addr; 2]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut packet, mut asked) = ([0; 1500], 0);
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let end = 12 + packet[12..length].iter().position(|byte| *byte == 0).unwrap_or(0) + 5;
            let wants_four = packet[end - 3] == 1;
            let mut answer = packet[..end].to_vec();
            answer[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, u8::from(wants_four), 0, 0, 0, 0]);
            if wants_four {
                // The question's name, type A, class IN, a life of 0 s.
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
                answer.extend(answers[asked % answers.len()].octets());
                asked += 1;
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    address
}

impl Place {
    /// The hostile plugin with these permissions, in a home with these settings.
    pub(crate) fn asking(&self, settings: &str, permissions: &[&str]) {
        self.world.put("home/state/config.toml", settings);
        self.active("hostile", &json!({"permissions": permissions}));
    }

    fn ask_host(&self, method: &str, params: &Value) -> Value {
        self.act("hostile", &json!({"how": "host_request", "method": method, "params": params}))
    }

    fn fetch(&self, url: &str) -> Value {
        self.ask_host("http_fetch", &json!({"url": url}))
    }

    /// Asks, and is refused for the want of a grant; which one.
    fn not_granted(&self, method: &str, params: &Value) -> Value {
        let answer = self.ask_host(method, params);
        assert_eq!(answer["error"]["code"], NOT_GRANTED, "{params}: {answer}");
        answer["error"]["data"]["grant"].clone()
    }
}

#[test]
fn net_04_to_07_no_spelling_and_no_wildcard_reaches_what_is_near() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let web = Web::start("127.0.0.1:0", |_| ok("secret"));
        let port = web.address.port();
        place.asking("", &["network:request=*", "network:request=*.test:*"]);
        for host in [
            "127.0.0.1",
            "127.1",
            "0.0.0.0",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "[::1]",
            "[::]",
            "localhost",
            "localhost.",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[2001:0:7f00:1::]",
            "169.254.169.254",
            "[fd00:ec2::254]",
            "100.100.100.200",
            "168.63.129.16",
            "metadata.google.internal",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "[fe80::1]",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            let answer = place.fetch(&format!("http://{host}:{port}/"));
            let code = answer["error"]["code"].as_i64().unwrap_or_default();
            // Not granted, or no address at all.
            assert!(code == NOT_GRANTED || code == -32602, "{host} as {who:?}: {answer}");
            assert_eq!(web.came(), 0, "{host} as {who:?}");
        }
        place.done(&["grant", "hostile", &format!("network:request=127.0.0.1:{port}")]);
        let granted = place.fetch(&format!("http://127.0.0.1:{port}/"));
        assert!(granted.to_string().contains("secret"), "as {who:?}: {granted}");
        assert_eq!(web.came(), 1);
        assert!(place.json(&["why", "hostile"]).to_string().contains("http_fetch"));
        place.done(&["audit", "verify"]);
    }
}

#[test]
fn net_08_what_was_judged_is_dialled() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let good = Web::start("127.0.0.1:0", |_| ok("good"));
        let port = good.address.port();
        let near = Web::start(&format!("127.0.0.2:{port}"), |_| ok("secret"));
        let dns = names([Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)]);
        let own = format!("network:request=127.0.0.1:{port}");
        place.asking(&format!("[network]\nresolver = \"{dns}\"\n"), &["network:request=rebind.test:*", &own]);
        let url = format!("http://rebind.test:{port}/");
        let first = place.fetch(&url);
        assert!(first.to_string().contains("good"), "as {who:?}: {first}");
        let second = place.not_granted("http_fetch", &json!({"url": url}));
        assert_eq!(second, format!("network:request=127.0.0.2:{port}"), "as {who:?}");
        assert_eq!((good.came(), near.came()), (1, 0), "as {who:?}");
        // The name server changes its mind with each question: the third answer is the first one again.
        assert!(place.fetch(&url).to_string().contains("good"), "as {who:?}");
        place.done(&["grant", "hostile", second.as_str().unwrap()]);
        assert!(place.fetch(&url).to_string().contains("secret"), "as {who:?}");
    }
}

#[test]
fn net_16_each_redirect_is_judged() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let closed = Web::start("127.0.0.1:0", |_| ok("secret"));
        let to = closed.address;
        let open = Web::start("127.0.0.1:0", move |path| match path {
            "/closed" => moved(&format!("http://{to}/")),
            "/file" => moved("file:///etc/passwd"),
            "/loop" => moved("/loop"),
            _ => ok("landed"),
        });
        let at = open.address;
        place.asking("", &[&format!("network:request={at}")]);
        let grant = place.not_granted("http_fetch", &json!({"url": format!("http://{at}/closed")}));
        assert_eq!((grant, closed.came()), (json!(format!("network:request={to}")), 0), "as {who:?}");
        for path in ["/file", "/loop"] {
            let answer = place.fetch(&format!("http://{at}{path}"));
            assert!(answer["error"].is_object() && !answer.to_string().contains("root:"), "{path}: {answer}");
        }
        assert!(place.fetch(&format!("http://{at}/")).to_string().contains("landed"));
        place.done(&["grant", "hostile", &format!("network:request={to}")]);
        assert!(place.fetch(&format!("http://{at}/closed")).to_string().contains("secret"), "as {who:?}");
    }
}

/// The database `crm` of this place, with a table that is granted and one that is not.
fn with_database(place: &Place) -> String {
    place.world.mkdir("base");
    let path = place.world.path("base/crm.db").to_string_lossy().into_owned();
    let made = "import sqlite3, sys\nb = sqlite3.connect(sys.argv[1])\n\
                b.executescript('CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE secrets (word TEXT);\
                INSERT INTO people VALUES (1, \"Ada\"); INSERT INTO secrets VALUES (\"swordfish\");')\nb.commit()\n";
    let run = place.world.bare_program(&["/usr/bin/python3", "-c", made, &path]).run();
    assert_eq!(run.code, Some(0), "{run}");
    path
}

#[test]
fn db_01_02_only_what_is_granted_of_a_database_is_there() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let path = with_database(&place);
        let settings = format!("[databases]\ncrm = \"{path}\"\nother = \"{path}\"\n");
        place.asking(&settings, &["database:read=crm.people", "database:write=crm.people"]);
        let query = |sql: &str| json!({"database": "crm", "sql": sql});
        let read = |sql: &str| place.ask_host("query_database", &query(sql));
        assert!(read("SELECT name FROM people").to_string().contains("Ada"), "as {who:?}");
        for sql in [
            "SELECT word FROM secrets",
            "SELECT name FROM people UNION SELECT word FROM secrets",
            "SELECT (SELECT word FROM secrets) FROM people",
        ] {
            let grant = place.not_granted("query_database", &query(sql));
            assert_eq!(grant, "database:read=crm.secrets", "{sql} as {who:?}");
        }
        for sql in [
            &format!("ATTACH '{path}' AS a"),
            "PRAGMA writable_schema = on",
            "SELECT load_extension('/usr/lib/x.so')",
            "SELECT 1; SELECT 2",
            "DROP TABLE people",
            "SELECT sql FROM sqlite_schema",
            "SELECT writefile('/tmp/x', 'x')",
        ] {
            for method in ["query_database", "execute_database"] {
                let answer = place.ask_host(method, &query(sql));
                assert!(answer["error"].is_object(), "{sql} as {who:?}: {answer}");
                assert!(!answer.to_string().contains("swordfish"), "{sql} as {who:?}: {answer}");
            }
        }
        // Others of the same file, of another case, and of no name at all.
        for database in ["other", "CRM", "crm.people", "../crm", ""] {
            let answer = place
                .ask_host("query_database", &json!({"database": database, "sql": "SELECT name FROM people"}));
            assert!(answer["error"].is_object(), "{database} as {who:?}: {answer}");
        }
        // What is passed as a value is no statement.
        let value = json!({"database": "crm", "sql": "INSERT INTO people (name) VALUES (?)", "parameters": ["x'); DROP TABLE people; --"]});
        assert!(place.ask_host("execute_database", &value)["result"].is_object(), "as {who:?}");
        assert!(read("SELECT count(*) AS n FROM people").to_string().contains('2'), "as {who:?}");
        place.done(&["grant", "hostile", "database:read=crm.secrets"]);
        assert!(read("SELECT word FROM secrets").to_string().contains("swordfish"), "as {who:?}");
        place.done(&["audit", "verify"]);
    }
}

#[test]
fn db_01_bombs_end_and_db_03_nothing_stays_locked() {
    for who in users() {
        let Some(place) = Place::new(who) else { return };
        let path = with_database(&place);
        let settings = format!("[databases.crm]\npath = \"{path}\"\ntime_limit = \"1s\"\n");
        place.asking(&settings, &["database:read=crm", "database:write=crm"]);
        let query = |sql: &str| json!({"database": "crm", "sql": sql});
        for sql in [
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
            "SELECT zeroblob(1000000000)",
            "SELECT hex(randomblob(500000000))",
        ] {
            let answer = place.ask_host("query_database", &query(sql));
            assert!(answer["error"].is_object(), "{sql} as {who:?}: {answer}");
        }
        for sql in ["BEGIN EXCLUSIVE", "BEGIN", "SAVEPOINT a"] {
            assert!(place.ask_host("execute_database", &query(sql))["error"].is_object(), "{sql} as {who:?}");
        }
        // The host application still writes, and the plugin still reads.
        let write = "import sqlite3, sys\nb = sqlite3.connect(sys.argv[1], timeout=5)\nb.execute('UPDATE people SET name = ?', ('Grace',))\nb.commit()\n";
        let run = place.world.bare_program(&["/usr/bin/python3", "-c", write, &path]).run();
        assert_eq!(run.code, Some(0), "as {who:?}\n{run}");
        assert!(
            place.ask_host("query_database", &query("SELECT name FROM people")).to_string().contains("Grace")
        );
    }
}
