//! A connection and the other ends of its pipes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringfence_api::Wire;
use ringfence_api::rpc::RpcErrorCode;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::task::JoinHandle;

use crate::rpc::{
    CallError, CallMeta, Closed, Connection, Fault, FaultKind, IncomingNotification, IncomingRequest,
    Options, Reply, RpcError, Service,
};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `wait` gives, unless it takes too long.
pub(super) async fn soon<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.expect("it takes too long")
}

/// The end of a plugin is told within 100 ms; a machine that is busy with other tests is granted more.
pub(super) fn prompt(begun: Instant) {
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
}

/// The plugin, played by a test.
pub(super) struct Peer {
    pub(super) stdin: BufReader<Receiver>,
    pub(super) stdout: Sender,
}

impl Peer {
    /// The next line from the host.
    pub(super) async fn line(&mut self) -> String {
        let mut line = String::new();
        soon(self.stdin.read_line(&mut line)).await.expect("stdin can be read");
        line
    }

    pub(super) async fn read(&mut self) -> Value {
        let line = self.line().await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stdout.write_all(bytes.as_ref())).await.expect("stdout can be written");
    }

    pub(super) async fn say(&mut self, message: Value) {
        self.write(format!("{message}\n")).await;
    }

    pub(super) async fn answer(&mut self, id: &Value, result: Value) {
        self.say(json!({"jsonrpc": "2.0", "id": id, "result": result})).await;
    }
}

/// A service that writes down what it hears. `echo` gives its parameters back, `wait` never ends, `slow` takes 50 ms.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) faults: Mutex<Vec<Fault>>,
    pub(super) notes: Mutex<Vec<(String, Option<String>)>>,
    pub(super) requests: Mutex<Vec<IncomingRequest>>,
    /// How many requests have been begun and how many were dropped or have ended.
    pub(super) begun: Arc<Mutex<(usize, usize)>>,
}

struct Ends(Arc<Mutex<(usize, usize)>>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.lock().unwrap().1 += 1;
    }
}

impl Service for Recorder {
    fn request(&self, call: IncomingRequest) -> Reply {
        self.begun.lock().unwrap().0 += 1;
        self.requests.lock().unwrap().push(call.clone());
        let ends = Ends(Arc::clone(&self.begun));
        Box::pin(async move {
            let _ends = ends;
            match call.method.as_str() {
                "echo" => Ok(call.params.unwrap_or_else(|| RawValue::NULL.to_owned())),
                "wait" => std::future::pending().await,
                "slow" => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok(RawValue::NULL.to_owned())
                }
                method => Err(RpcError::new(RpcErrorCode::MethodNotFound, method)),
            }
        })
    }

    fn notify(&self, note: IncomingNotification<'_>) {
        self.notes.lock().unwrap().push((note.method.to_owned(), note.correlation_id.map(str::to_owned)));
    }

    fn fault(&self, fault: Fault) {
        self.faults.lock().unwrap().push(fault);
    }
}

pub(super) struct Rig {
    pub(super) connection: Connection,
    pub(super) peer: Peer,
    pub(super) service: Arc<Recorder>,
    pub(super) driver: JoinHandle<Closed>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(super) fn legacy() -> Self {
        Self::with(Options { wire: Wire::Legacy, ..Options::default() })
    }

    pub(super) fn with(options: Options) -> Self {
        let (stdin, to_plugin) = std::io::pipe().unwrap();
        let (from_plugin, stdout) = std::io::pipe().unwrap();
        let service = Arc::new(Recorder::default());
        let (connection, driver) =
            Connection::open(to_plugin.into(), from_plugin.into(), options, service.clone()).unwrap();
        let peer = Peer {
            stdin: BufReader::new(Receiver::from_owned_fd(stdin.into()).unwrap()),
            stdout: Sender::from_owned_fd(stdout.into()).unwrap(),
        };
        Self { connection, peer, service, driver: tokio::spawn(driver) }
    }

    /// Begins a call in a task of its own.
    pub(super) fn call(&self, params: Value) -> JoinHandle<Result<Value, CallError>> {
        self.call_for(params, PATIENCE)
    }

    pub(super) fn call_for(&self, params: Value, time: Duration) -> JoinHandle<Result<Value, CallError>> {
        let connection = self.connection.clone();
        tokio::spawn(async move { request(&connection, params, time).await })
    }

    /// Waits until `kind` was reported, and gives all that was.
    pub(super) async fn fault(&self, kind: FaultKind) -> Vec<Fault> {
        soon(async {
            loop {
                let faults = self.service.faults.lock().unwrap().clone();
                if faults.iter().any(|fault| fault.kind == kind) {
                    return faults;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
    }

    /// Shows that the connection still works in both directions.
    pub(super) async fn works(&mut self) {
        let call = self.call(json!({"still": "there"}));
        let request = loop {
            let message = self.peer.read().await;
            if message["params"]["still"] == "there" {
                break message;
            }
        };
        self.peer.answer(&request["id"], json!("yes")).await;
        assert_eq!(soon(call).await.unwrap().unwrap(), "yes");
    }
}

pub(super) async fn request(
    connection: &Connection,
    params: Value,
    time: Duration,
) -> Result<Value, CallError> {
    let params = serde_json::value::to_raw_value(&params).unwrap();
    let meta = CallMeta { correlation_id: "c-1", deadline: Instant::now() + time };
    let result = connection.request("call", &params, meta).await?;
    Ok(serde_json::from_str(result.get()).unwrap())
}
