//! Every page and act. The second column names the operation of the API whose role and reach hold for it; an act carries it out.

use super::view::View;
use super::{install, plugin, plugins};

pub(super) fn views() -> Vec<View> {
    let mut all = vec![
        View::page("", "listPlugins", plugins::list),
        View::page("/plugins", "listPlugins", plugins::list),
        View::act("/plugins", "installPlugin", install::install),
        View::act("/plugins/scan", "scanPlugins", install::scan),
        View::page("/install", "installPlugin", install::page),
        View::stream("/stream", "stream"),
    ];
    all.extend(of_one_plugin());
    all
}

fn of_one_plugin() -> Vec<View> {
    vec![
        View::page("/plugins/{name}", "showPlugin", plugin::overview::page),
        View::act("/plugins/{name}/activate", "activatePlugin", plugin::life::activate),
        View::act("/plugins/{name}/deactivate", "deactivatePlugin", plugin::life::deactivate),
        View::page("/plugins/{name}/grants", "getGrants", plugin::permissions::page),
        View::act("/plugins/{name}/grants", "setGrants", plugin::permissions::set),
        View::page("/plugins/{name}/grants/add", "setGrants", plugin::permissions::ask_for_one),
        View::act("/plugins/{name}/grants/add", "setGrants", plugin::permissions::add),
        View::act("/plugins/{name}/grants/revoke", "setGrants", plugin::permissions::revoke),
        View::page("/plugins/{name}/config", "getConfig", plugin::config::page),
        View::act("/plugins/{name}/config", "setConfig", plugin::config::set),
        View::page("/plugins/{name}/resources", "pluginResources", plugin::resources::page),
        View::page("/plugins/{name}/denials", "pluginDenials", plugin::permissions::denials),
        View::page("/plugins/{name}/upgrade", "showPlugin", plugin::life::versions),
        View::act("/plugins/{name}/upgrade", "upgradePlugin", plugin::life::upgrade),
        View::act("/plugins/{name}/rollback", "rollbackPlugin", plugin::life::rollback),
        View::page("/plugins/{name}/uninstall", "uninstallPlugin", plugin::life::before_uninstall),
        View::act("/plugins/{name}/uninstall", "uninstallPlugin", plugin::life::uninstall),
    ]
}
