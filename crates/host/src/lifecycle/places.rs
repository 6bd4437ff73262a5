//! What is known of the places that a plugin's grants open: what was there at the consent, and where plugins may write.

use std::collections::BTreeMap;

use ringfence_api::{Permission, PermissionName, PluginName};
use ringfence_policy::{Effect, Rule};

use super::context::Context;
use crate::Error;
use crate::dev::DATA as DEV_DATA;
use crate::exec::held::{Misfit, Pins, Trees};
use crate::exec::translate::vars_of_home;
use crate::pin::Pin;
use crate::store::GrantRow;

/// The places of stored grants.
///
/// # Errors
/// What the store says.
pub(crate) fn known(
    context: &Context,
    name: &PluginName,
    grants: &[GrantRow],
    misfit: Misfit,
) -> Result<Pins, Error> {
    let permissions = grants.iter().map(|grant| &grant.permission);
    let trees = trees_for(context, permissions)?;
    Ok(Pins { plugin: name.to_string(), by_grant: by_grant(grants), trees, misfit })
}

/// The same for grants that are consented to now: nothing is known of their places.
///
/// # Errors
/// What the store says.
pub(crate) fn fresh(context: &Context, name: &PluginName, grants: &[Permission]) -> Result<Pins, Error> {
    let trees = trees_for(context, grants.iter())?;
    Ok(Pins { plugin: name.to_string(), by_grant: BTreeMap::new(), trees, misfit: Misfit::Refused })
}

/// What was there at the consent, by the text of the grant.
pub(crate) fn by_grant(grants: &[GrantRow]) -> BTreeMap<String, Pin> {
    let pinned = |grant: &GrantRow| Some((grant.permission.to_string(), grant.pin.clone()?));
    grants.iter().filter_map(pinned).collect()
}

/// Where plugins may write, if any of these grants is over files: else nobody asks.
fn trees_for<'g>(
    context: &Context,
    mut grants: impl Iterator<Item = &'g Permission>,
) -> Result<Trees, Error> {
    use PermissionName as P;
    let over_files = |grant: &Permission| {
        matches!(grant.name(), P::FileRead | P::FileWrite | P::FileDelete | P::SubprocessExecute)
    };
    if grants.any(over_files) { trees(context) } else { Ok(Trees::default()) }
}

/// Where any plugin of this home may write: by a grant, and in its own data directory.
///
/// # Errors
/// What the store says.
pub(crate) fn trees(context: &Context) -> Result<Trees, Error> {
    let vars = vars_of_home(&context.home)?;
    let mut trees = Trees::default();
    let layout = context.store.layout();
    trees.add(layout.data_dirs());
    trees.add(layout.home().join(DEV_DATA));
    for permission in context.store.granted_writing()? {
        // What is relative is in a package, and `${data}` in the data directory, of which the one is never written and the
        // other is there already. As a deny rule it may name what no wildcard opens.
        let absolute = permission.scope().is_some_and(|scope| scope.starts_with(['/', '~']));
        if !absolute {
            continue;
        }
        if let Ok(rule) = Rule::from_permission(Effect::Deny, &permission, &vars, "") {
            trees.add_rule(&rule);
        }
    }
    Ok(trees)
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
