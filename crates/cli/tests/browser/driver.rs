//! Chromium through its driver: WebDriver as the W3C has it, spoken by ourselves. It is JSON over HTTP on this machine, and the
//! crates that speak it bring some sixty others and a licence that this project does not take.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Nothing that a test waits for takes longer.
pub(crate) const LONGEST: Duration = Duration::from_secs(90);
/// Who drives a browser when the tests run as root: the sandbox of Chromium is for ordinary users.
const NOBODY: &str = "65534";
/// The keys that pages are walked with.
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";

/// One browser at a time: each takes some hundred megabytes.
static TURN: Mutex<()> = Mutex::new(());

/// A browser with one window. Dropping it ends it and all that it has started, and looks that nothing is left.
pub(crate) struct Chromium {
    driver: Child,
    port: u16,
    session: String,
    /// Its profile, whose name every process of it has among its words.
    profile: PathBuf,
    _place: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Looks {
    pub(crate) phone: bool,
    pub(crate) dark: bool,
}

impl Looks {
    pub(crate) const ALL: [Self; 4] = [
        Self { phone: false, dark: false },
        Self { phone: false, dark: true },
        Self { phone: true, dark: false },
        Self { phone: true, dark: true },
    ];

    pub(crate) const fn words(self) -> &'static str {
        match (self.phone, self.dark) {
            (false, false) => "desktop-light",
            (false, true) => "desktop-dark",
            (true, false) => "phone-light",
            (true, true) => "phone-dark",
        }
    }

    const fn size(self) -> (u32, u32) {
        if self.phone { (360, 740) } else { (1_280, 860) }
    }
}

/// Said in every document before anything of it runs: whatever a stranger's text makes run, or tries to, is in `ran`.
const CANARY: &str = "window.ran = []; \
    for (const name of ['alert', 'confirm', 'prompt', 'print']) window[name] = () => { window.ran.push(name); }; \
    addEventListener('securitypolicyviolation', (event) => window.ran.push(`${event.violatedDirective} ${event.blockedURI}`)); \
    addEventListener('error', (event) => window.ran.push(`error ${event.message}`));";

impl Chromium {
    /// `None` where the machine has no browser, which is said.
    pub(crate) fn start() -> Option<Self> {
        if ringfence_testkit::lacks("chromium") {
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let place = tempfile::tempdir().unwrap();
        let profile = place.path().join("profile");
        let is_root = ringfence_testkit::have("root");
        let mut command = if is_root {
            std::os::unix::fs::chown(place.path(), Some(65_534), Some(65_534)).unwrap();
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups"]);
            command.arg("chromedriver");
            command
        } else {
            Command::new("chromedriver")
        };
        command.arg("--port=0").env("HOME", place.path()).env("TMPDIR", place.path());
        command.env("XDG_RUNTIME_DIR", place.path()).current_dir(place.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut driver = command.spawn().unwrap();
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let port = loop {
            let mut line = String::new();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "the driver has ended");
            if let Some((_, rest)) = line.split_once("started successfully on port ") {
                break rest.trim().trim_end_matches('.').parse().unwrap();
            }
        };
        std::thread::spawn(move || said.read_to_end(&mut Vec::new()));
        let mut chromium = Self { driver, port, session: String::new(), profile, _place: place, _turn: turn };
        chromium.begin();
        Some(chromium)
    }

    fn begin(&mut self) {
        let arguments = [
            "--headless=new".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--hide-scrollbars".to_owned(),
            // It asks nobody elsewhere for anything.
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1".to_owned(),
            format!("--user-data-dir={}", self.profile.display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "unhandledPromptBehavior": "ignore",
            "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": arguments}
        }}});
        let begun = self.ask("POST", "/session", Some(&wanted));
        self.session =
            begun["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {begun}")).to_owned();
        self.devtools("Page.enable", json!({}));
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": CANARY}));
        self.look(Looks { phone: false, dark: false });
    }

    /// One request to the driver; its value.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LONGEST)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).unwrap();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        answer["value"].clone()
    }

    #[track_caller]
    fn command(&self, method: &str, path: &str, body: Value) -> Value {
        let value = self.ask(method, &format!("/session/{}{path}", self.session), Some(&body));
        assert!(value["error"].is_null(), "{method} {path}: {value}");
        value
    }

    #[track_caller]
    pub(crate) fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.command("POST", "/goog/cdp/execute", json!({"cmd": command, "params": parameters}))
    }

    /// What a script gives, run by the browser itself: no policy of the page is asked.
    #[track_caller]
    pub(crate) fn eval(&self, script: &str) -> Value {
        let parameters = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let answer = self.devtools("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{script:.300}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Opens an address, and waits until it is there.
    #[track_caller]
    pub(crate) fn open(&self, address: &str) {
        self.command("POST", "/url", json!({"url": address}));
    }

    /// The path and query of the page that is open.
    pub(crate) fn path(&self) -> String {
        self.eval("location.pathname + location.search").as_str().unwrap().to_owned()
    }

    /// The text that the page shows.
    pub(crate) fn text(&self) -> String {
        self.eval("document.body.innerText").as_str().unwrap().to_owned()
    }

    /// Waits until a script gives true.
    #[track_caller]
    pub(crate) fn until(&self, script: &str) {
        let begun = Instant::now();
        // Between two pages there is nobody to ask.
        let holds = || {
            let parameters = json!({"expression": script, "returnByValue": true});
            let body = json!({"cmd": "Runtime.evaluate", "params": parameters});
            let path = format!("/session/{}/goog/cdp/execute", self.session);
            self.ask("POST", &path, Some(&body))["result"]["value"] == true
        };
        while !holds() {
            assert!(begun.elapsed() < LONGEST, "{script} has not become so: {} {}", self.path(), self.text());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the page shows this.
    #[track_caller]
    pub(crate) fn shows(&self, words: &str) {
        self.until(&format!(
            "document.readyState === 'complete' && document.body.innerText.includes({})",
            json!(words)
        ));
    }

    /// Clicks on the first thing that the selector finds, as a mouse does: it must be there to be clicked on.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.command("POST", &format!("/element/{element}/click"), json!({}));
    }

    #[track_caller]
    fn find(&self, selector: &str) -> String {
        let found = self.command("POST", "/element", json!({"using": "css selector", "value": selector}));
        let element = found.as_object().and_then(|object| object.values().next()).and_then(Value::as_str);
        element.unwrap_or_else(|| panic!("{selector}: {found}")).to_owned()
    }

    /// A copy of a file that the browser may read: it runs as somebody else.
    pub(crate) fn lend(&self, file: &Path) -> PathBuf {
        let copy = self.profile.with_file_name(file.file_name().unwrap());
        std::fs::copy(file, &copy).unwrap();
        std::fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        copy
    }

    /// Chooses a file in a form.
    #[track_caller]
    pub(crate) fn choose(&self, selector: &str, file: &Path) {
        let element = self.find(selector);
        self.command("POST", &format!("/element/{element}/value"), json!({"text": file}));
    }

    /// Presses keys wherever the focus is.
    #[track_caller]
    pub(crate) fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})]
            })
            .collect();
        self.command(
            "POST",
            "/actions",
            json!({"actions": [{"type": "key", "id": "keys", "actions": strokes}]}),
        );
    }

    /// Looks at pages so from now on.
    pub(crate) fn look(&self, looks: Looks) {
        let (width, height) = looks.size();
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": looks.phone});
        self.devtools("Emulation.setDeviceMetricsOverride", size);
        let scheme = if looks.dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features);
    }

    /// A picture of the whole page, up to a height that can be looked at.
    pub(crate) fn picture(&self, to: &Path) {
        let size = &self.devtools("Page.getLayoutMetrics", json!({}))["cssContentSize"];
        let height = size["height"].as_f64().unwrap().min(2_400.0);
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1});
        let taken = self.devtools(
            "Page.captureScreenshot",
            json!({"format": "png", "captureBeyondViewport": true, "clip": clip}),
        );
        let bytes = data_encoding::BASE64.decode(taken["data"].as_str().unwrap().as_bytes()).unwrap();
        std::fs::write(to, bytes).unwrap();
    }

    /// What ran, or tried to, that is not ours.
    pub(crate) fn ran(&self) -> Value {
        self.eval("window.ran")
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let is_failing = std::thread::panicking();
        if !is_failing && !self.session.is_empty() {
            self.ask("DELETE", &format!("/session/{}", self.session), None);
        }
        // The driver is the leader of a group in which all that it has started is.
        let group = format!("-{}", self.driver.id());
        Command::new("kill").args(["-TERM", "--", &group]).stderr(Stdio::null()).status().ok();
        let begun = Instant::now();
        let mut left = processes(&self.profile);
        while begun.elapsed() < Duration::from_secs(10) && !left.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
            left = processes(&self.profile);
        }
        for pid in &left {
            Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status().ok();
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
        assert!(is_failing || left.is_empty(), "the browser has left processes: {left:?}");
    }
}

/// Processes with this profile among their words.
fn processes(profile: &Path) -> Vec<u32> {
    let wanted = profile.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_of_it = |pid: &u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&wanted)
    };
    pids.filter(is_of_it).collect()
}
