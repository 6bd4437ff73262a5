//! The gateway as a program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use llm_gateway::{Gateway, Upstream};
use ringfence::{Home, Host};

/// The sample plugins that do something useful.
const SAMPLES: [&str; 4] = ["redact", "keyword-guard", "token-counter", "cache"];

/// An OpenAI-compatible reverse proxy whose requests and responses pass through plugins.
#[derive(Debug, Parser)]
struct Arguments {
    /// The server behind it, such as http://127.0.0.1:11434
    #[arg(long, value_name = "URL")]
    upstream: String,
    /// Where it listens. Whoever can reach it can use it: keep it on loopback, or behind something that knows its users
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: String,
    /// The home of the plugins; default RINGFENCE_HOME, else the user's own
    #[arg(long, value_name = "DIRECTORY")]
    home: Option<PathBuf>,
    /// Install and activate the sample plugins of this directory, with all that they ask for
    #[arg(long, value_name = "DIRECTORY")]
    samples: Option<PathBuf>,
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "a program says on standard error what went wrong")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("llm-gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "it says where it listens")]
async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let upstream = Upstream::new(&arguments.upstream)?;
    let mut builder = Host::builder().start_active(true).actor("llm-gateway");
    if let Some(home) = arguments.home {
        builder = builder.home(Home::at(std::path::absolute(home)?));
    }
    let host = builder.build().await?;
    if let Some(directory) = &arguments.samples {
        llm_gateway::install_samples(&host, directory, &SAMPLES).await?;
    }
    let listener = tokio::net::TcpListener::bind(&arguments.listen).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let router = Gateway::new(host.clone(), upstream).router();
    axum::serve(listener, router).with_graceful_shutdown(ended()).await?;
    host.shutdown().await;
    Ok(())
}

async fn ended() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        // Without it Ctrl-C ends the program at once, and the plugins with it.
        _caught = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
