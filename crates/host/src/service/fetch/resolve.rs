//! A name into addresses, once for each request, with nothing remembered.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::failed;
use super::network::Network;
use crate::rpc::RpcError;

/// Addresses of one name that are looked at. A name with more is refused: they could not all be judged in useful time.
const ADDRESSES_MAX: usize = 32;
/// How long one name server is waited for, and how often it is asked.
const SERVER_WAIT: Duration = Duration::from_secs(3);
const ATTEMPTS: usize = 2;

/// All addresses of a name, IPv4 before IPv6.
///
/// # Errors
/// `fetch_failed` when there are none, or no name server answers.
pub(super) async fn addresses(network: &Network, name: &str) -> Result<Vec<IpAddr>, RpcError> {
    let resolver = resolver(network).map_err(|error| {
        tracing::error!(error = %error, "names cannot be resolved");
        failed("the host cannot resolve names; its log says why")
    })?;
    // The dot keeps the search list of this machine out: what was judged is the whole name.
    let found = resolver.lookup_ip(format!("{name}.")).await.map_err(|error| {
        tracing::debug!(name, error = %error, "a name was not resolved");
        failed(&format!("the name {name} cannot be resolved"))
    })?;
    let addresses: Vec<IpAddr> = found.iter().take(ADDRESSES_MAX + 1).collect();
    match addresses.len() {
        0 => Err(failed(&format!("the name {name} has no address"))),
        1..=ADDRESSES_MAX => Ok(addresses),
        _ => Err(failed(&format!("the name {name} has more than {ADDRESSES_MAX} addresses"))),
    }
}

/// Made anew each time, so that a change of `resolv.conf` or `hosts` counts at once; both are small files.
fn resolver(network: &Network) -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let provider = TokioRuntimeProvider::default();
    let mut builder = match network.resolver {
        Some(server) => {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            TokioResolver::builder_with_config(
                ResolverConfig::from_parts(None, Vec::new(), vec![config]),
                provider,
            )
        }
        None => TokioResolver::builder(provider)?,
    };
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.cache_size = 0;
    options.timeout = SERVER_WAIT;
    options.attempts = ATTEMPTS;
    builder.build()
}
