//! What another policy would make of the limits of what is installed.

use ringfence_policy::Policy;
use serde::Serialize;
use serde_json::Value;

use crate::Error;
use crate::config::PluginLimits;
use crate::host::inspect::limits_info;
use crate::lifecycle::Context;
use crate::policy::{PluginRules, clamp};
use crate::runtime::{effective_limits, given_limits};
use crate::store::PluginRow;

/// A limit of an installed plugin that another policy would make another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LimitDifference {
    /// The plugin.
    pub plugin: String,
    /// The limit, with its unit, as [`LimitsInfo`](crate::plugin::LimitsInfo) names it.
    pub limit: String,
    /// What holds; `None`: it is lifted.
    pub was: Option<u64>,
    /// What would hold; `None`: it would be lifted.
    pub now: Option<u64>,
    /// Why, with the line of the ceiling.
    pub because: String,
}

/// Every limit of what is installed that would be another one, by plugin and limit.
pub(super) fn limits(context: &Context, policy: &Policy) -> Result<Vec<LimitDifference>, Error> {
    let configured = context.config().plugins.clone();
    let mut differences = Vec::new();
    for row in context.store.plugins()? {
        of(context, policy, &configured, &row, &mut differences)?;
    }
    Ok(differences)
}

fn of(
    context: &Context,
    policy: &Policy,
    configured: &PluginLimits,
    row: &PluginRow,
    differences: &mut Vec<LimitDifference>,
) -> Result<(), Error> {
    let manifest = row.package.manifest()?;
    let name = row.name().as_str();
    let holds = context.policy.about(name);
    let would = PluginRules { ceilings: policy.ceilings(name), ..PluginRules::default() };
    let under = |rules: &PluginRules| {
        let limits = effective_limits(&given_limits(configured, Some(rules)), &manifest.limits);
        match serde_json::to_value(limits_info(&limits)) {
            Ok(Value::Object(limits)) => limits,
            _ => serde_json::Map::new(),
        }
    };
    let (was, now) = (under(&holds), under(&would));
    let (_, lowered) = clamp(&effective_limits(configured, &manifest.limits), &would.ceilings);
    for (limit, was) in was {
        let now = now.get(&limit).and_then(Value::as_u64);
        let was = was.as_u64();
        if was == now {
            continue;
        }
        let because = match lowered.get(limit.as_str()) {
            Some(line) => format!("the ceiling of line {line}"),
            None => "no ceiling lowers it any more".to_owned(),
        };
        differences.push(LimitDifference { plugin: name.to_owned(), limit, was, now, because });
    }
    Ok(())
}
