//! A home with a server on it, on a thread and runtime of its own, so that tests can block.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringfence::token::NewToken;
use ringfence::{Config, Home, Host};
use ringfence_api::Role;
use ringfence_server::{Listen, Server, ServerOptions};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::client::{Answer, Request};

pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) host: Host,
    pub(crate) runtime: Runtime,
    pub(crate) admin: String,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<()>>,
    directory: tempfile::TempDir,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With whatever else the server shall be told.
    pub(crate) fn with(told: impl FnOnce(&mut ServerOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        std::fs::create_dir(directory.path().join("packages")).unwrap();
        let mut options = ServerOptions {
            listen: vec![Listen::Tcp { address: ([127, 0, 0, 1], 0).into(), tls: None }],
            install_from: vec![directory.path().join("packages")],
            ..ServerOptions::default()
        };
        told(&mut options);
        let home = Home::at(directory.path().join("home"));
        let (host, server, admin) = runtime.block_on(async {
            let host = Host::builder().home(home).config(Config::default()).build().await.unwrap();
            let admin = host.create_token(NewToken::new(Role::Admin)).await.unwrap();
            let server = Server::bind(host.clone(), options).await.unwrap();
            (host, server, admin.token.reveal().to_owned())
        });
        let address = server.addresses()[0];
        let (stop, stopped) = oneshot::channel::<()>();
        let served = runtime.spawn(server.serve(async move {
            let _told = stopped.await;
        }));
        Self { address, host, runtime, admin, stop: Some(stop), served: Some(served), directory }
    }

    /// Sends a request as the administrator.
    pub(crate) fn send(&self, request: &Request) -> Answer {
        self.send_as(&self.admin, request)
    }

    pub(crate) fn send_as(&self, token: &str, request: &Request) -> Answer {
        request.clone().token(token).send(self.address)
    }

    pub(crate) fn token(
        &self,
        role: Role,
        plugin: Option<&str>,
        expires: Option<Duration>,
    ) -> (String, String) {
        let plugin = plugin.map(|plugin| plugin.parse().unwrap());
        let new = NewToken { plugin, expires, ..NewToken::new(role) };
        let made = self.runtime.block_on(self.host.create_token(new)).unwrap();
        (made.info.id.to_string(), made.token.reveal().to_owned())
    }

    /// A package of a Python plugin where the server takes packages from.
    pub(crate) fn package(
        &self,
        name: &str,
        version: &str,
        head: &str,
        tools: &[&str],
        code: &str,
    ) -> PathBuf {
        let package = self.path("packages").join(format!("{name}-{version}"));
        std::fs::create_dir_all(&package).unwrap();
        let tools: String = tools.iter().map(|tool| format!("{{name: {tool}}}, ")).collect();
        let manifest = format!(
            "name: {name}\nversion: {version}\nruntime: python\nentry_point: main.py\n{head}tools: [{tools}]\n"
        );
        std::fs::write(package.join("plugin.yaml"), manifest).unwrap();
        std::fs::write(package.join("main.py"), code).unwrap();
        package
    }

    /// Installs, consents to and activates such a plugin.
    pub(crate) fn active(&self, name: &str, head: &str, tools: &[&str], code: &str) {
        let package = self.package(name, "1.0.0", head, tools, code);
        let body = serde_json::json!({"path": package, "grant_requested": true});
        self.send(&crate::client::post("/plugins", &body)).ok();
        self.send(&crate::client::request("POST", &format!("/plugins/{name}/activate"))).ok();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.directory.path()).join(name)
    }

    /// Tells the server to stop and waits until it has; the host goes on.
    pub(crate) fn stop_server(&mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            self.runtime.block_on(served).unwrap();
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop_server();
        self.runtime.block_on(self.host.clone().shutdown());
    }
}
