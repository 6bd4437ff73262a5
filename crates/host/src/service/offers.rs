//! What the host application offers to its plugins beyond what every host has.

/// Profiles, databases and methods of the application's own, as they were registered with
/// [`HostBuilder`](crate::HostBuilder). Nothing is offered unless it is registered.
#[derive(Debug, Default)]
pub(crate) struct Offers {}
