//! How a permission is enforced: the one table from a permission and a runtime to what a grant of it opens.
//!
//! What the sandbox opens is said here; what the host opens follows from `service::SERVED`, the requests that
//! it really answers: whoever serves another method changes what is said of its permission everywhere, and nothing else needs
//! to be touched.

use std::fmt;

use ringfence_api::rpc::method;
use ringfence_api::{PermissionName, Runtime};
use serde::Serialize;

use crate::service::SERVED;

/// How a grant is enforced.
///
/// ```
/// use ringfence::enforcement::{Enforcement, enforcement};
/// use ringfence_api::{PermissionName, Runtime};
///
/// assert_eq!(enforcement(&PermissionName::FileRead, Runtime::Python), Enforcement::Sandbox);
/// assert_eq!(Enforcement::NotServed.as_str(), "not_served");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// The sandbox opens it, and the kernel holds its bounds.
    Sandbox,
    /// Only the host opens it, request by request.
    Brokered,
    /// Nothing opens it in this version: a grant of it is kept, and changes nothing.
    NotServed,
}

impl Enforcement {
    /// The word in JSON and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Brokered => "brokered",
            Self::NotServed => "not_served",
        }
    }

    /// What is said to people behind the meaning of a permission; empty where it is what they expect.
    #[must_use]
    pub const fn remark(self) -> &'static str {
        match self {
            Self::Sandbox => "",
            Self::Brokered => ", by the host",
            Self::NotServed => ", which opens nothing in this version",
        }
    }
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What can open a permission.
struct Opens {
    /// Whether the sandbox does.
    sandbox: bool,
    /// The requests to the host that ask for it.
    methods: &'static [&'static str],
}

const fn opens(permission: &PermissionName) -> Opens {
    use PermissionName as P;
    let (sandbox, methods): (bool, &[&str]) = match permission {
        P::FileRead => (true, &[method::READ_FILE, method::LIST_FILES]),
        P::FileWrite => (true, &[method::WRITE_FILE]),
        P::FileDelete => (true, &[method::DELETE_FILE]),
        P::EnvRead => (true, &[]),
        P::SubprocessExecute => (true, &[method::RUN_PROCESS]),
        P::NetworkRequest => {
            (false, &[method::HTTP_FETCH, method::HTTP_FETCH_READ, method::HTTP_FETCH_CLOSE])
        }
        P::ConfigWrite => (false, &[method::SET_CONFIG]),
        P::DatabaseRead => (false, &[method::QUERY_DATABASE]),
        P::DatabaseWrite => (false, &[method::EXECUTE_DATABASE]),
        P::EventPost => (false, &[method::POST_EVENT]),
        P::ProfileRead => (false, &[method::GET_USER_PROFILE]),
        P::HookRegister => (false, &[method::REGISTER_HOOK]),
        // Its own configuration a plugin may always read; nothing gives it another's.
        P::ConfigRead | P::NetworkListen | P::Extension(_) => (false, &[]),
    };
    Opens { sandbox, methods }
}

/// How a grant of this permission to a plugin of this runtime is enforced.
#[must_use]
pub fn enforcement(permission: &PermissionName, runtime: Runtime) -> Enforcement {
    by(permission, runtime, SERVED)
}

fn by(permission: &PermissionName, runtime: Runtime, served: &[&str]) -> Enforcement {
    match runtime {
        // They are recognised and not started.
        Runtime::Mcp | Runtime::Wasm | Runtime::Container => return Enforcement::NotServed,
        Runtime::Python | Runtime::Node | Runtime::Native => {}
    }
    let Opens { sandbox, methods } = opens(permission);
    // One of the application's own: it serves what that opens, by `HostBuilder::method` or by asking `Host::check_permission`.
    let own = matches!(permission, PermissionName::Extension(_));
    if sandbox {
        Enforcement::Sandbox
    } else if own || methods.iter().any(|method| served.contains(method)) {
        Enforcement::Brokered
    } else {
        Enforcement::NotServed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_is_served_opens_its_permission() {
        let network = &PermissionName::NetworkRequest;
        assert_eq!(by(network, Runtime::Python, &[]), Enforcement::NotServed);
        assert_eq!(by(network, Runtime::Python, &[method::HTTP_FETCH]), Enforcement::Brokered);
        assert_eq!(by(network, Runtime::Container, &[method::HTTP_FETCH]), Enforcement::NotServed);
        assert_eq!(by(&PermissionName::FileRead, Runtime::Native, &[]), Enforcement::Sandbox);
        assert_eq!(
            by(&PermissionName::NetworkListen, Runtime::Native, method::HOST_REQUESTS),
            Enforcement::NotServed
        );
        let own = "x-crm:export".parse().unwrap();
        assert_eq!(by(&own, Runtime::Native, &[]), Enforcement::Brokered, "the application serves its own");
    }

    #[test]
    fn every_request_of_the_protocol_that_needs_a_grant_is_in_the_table() {
        let free = [
            method::STORE_PLUGIN_DATA,
            method::LOAD_PLUGIN_DATA,
            method::DELETE_PLUGIN_DATA,
            method::LIST_PLUGIN_DATA,
            method::GET_CONFIG,
        ];
        let known: Vec<&str> =
            PermissionName::BUILT_IN.iter().flat_map(|name| opens(name).methods).copied().collect();
        for request in method::HOST_REQUESTS {
            assert_ne!(known.contains(request), free.contains(request), "{request}");
        }
        assert!(SERVED.iter().all(|served| method::HOST_REQUESTS.contains(served)), "{SERVED:?}");
    }

    #[test]
    fn the_word_in_json_is_the_word_in_tables() {
        for one in [Enforcement::Sandbox, Enforcement::Brokered, Enforcement::NotServed] {
            assert_eq!(serde_json::to_value(one).unwrap(), one.as_str());
        }
    }
}
