//! Every page and act. The second column names the operation of the API whose role and reach hold for it; an act carries it out.

use super::view::View;
use super::{activity, audit, hooks, install, plugin, plugins, runs, sessions, tokens};

pub(super) fn views() -> Vec<View> {
    let mut all = vec![
        View::page("", "listPlugins", plugins::list),
        View::page("/plugins", "listPlugins", plugins::list),
        View::act("/plugins", "installPlugin", install::install),
        View::page("/install", "installPlugin", install::page),
        View::upload("/install/upload", "installPlugin", install::upload),
        View::act("/install/scan", "scanPlugins", install::scan),
        View::stream("/stream", "stream"),
    ];
    all.extend(of_one_plugin());
    all.extend(of_the_host());
    all
}

fn of_one_plugin() -> Vec<View> {
    vec![
        View::page("/plugins/{name}", "showPlugin", plugin::overview::page),
        View::act("/plugins/{name}/activate", "activatePlugin", plugin::life::activate),
        View::act("/plugins/{name}/deactivate", "deactivatePlugin", plugin::life::deactivate),
        View::page("/plugins/{name}/grants", "getGrants", plugin::permissions::page),
        View::act("/plugins/{name}/grants", "setGrants", plugin::permissions::set),
        View::act("/plugins/{name}/grants/ask", "setGrants", plugin::permissions::ask_for_one),
        View::act("/plugins/{name}/grants/add", "setGrants", plugin::permissions::add),
        View::act("/plugins/{name}/grants/revoke", "setGrants", plugin::permissions::revoke),
        View::page("/plugins/{name}/config", "getConfig", plugin::config::page),
        View::act("/plugins/{name}/config", "setConfig", plugin::config::set),
        View::page("/plugins/{name}/resources", "pluginResources", plugin::resources::page),
        View::page("/plugins/{name}/denials", "pluginDenials", plugin::denials::page),
        View::page("/plugins/{name}/upgrade", "showPlugin", plugin::life::versions),
        View::act("/plugins/{name}/upgrade", "upgradePlugin", plugin::life::upgrade),
        View::upload("/plugins/{name}/upgrade/upload", "upgradePlugin", plugin::life::upgrade_by_upload),
        View::act("/plugins/{name}/upgrade/abandon", "abandonUpgrade", plugin::life::abandon_upgrade),
        View::act("/plugins/{name}/rollback", "rollbackPlugin", plugin::life::rollback),
        View::page("/plugins/{name}/uninstall", "uninstallPlugin", plugin::life::before_uninstall),
        View::act("/plugins/{name}/uninstall", "uninstallPlugin", plugin::life::uninstall),
        View::page("/plugins/{name}/activity", "pluginActivity", plugin::activity::page),
        View::page("/plugins/{name}/logs", "pluginLogs", plugin::logs::page),
    ]
}

fn of_the_host() -> Vec<View> {
    vec![
        View::page("/hooks", "listHooks", hooks::list),
        View::page("/activity", "listExecutions", activity::list),
        View::page("/runs", "listRuns", runs::list),
        View::page("/runs/{id}", "showRun", runs::one),
        View::act("/runs/{id}/cancel", "cancelRun", runs::cancel),
        View::stream("/runs/{id}/stream", "streamRun"),
        View::page("/audit", "listAudit", audit::list),
        View::act("/audit/verify", "verifyAudit", audit::verify),
        // Sessions are no part of the API: whoever is in may see their own, as they may sign out.
        View::page("/sessions", "listPlugins", sessions::list),
        View::act("/sessions/others", "listPlugins", sessions::end_others),
        View::act("/sessions/{number}/end", "listPlugins", sessions::end),
        View::page("/tokens", "listTokens", tokens::list),
        View::act("/tokens", "createToken", tokens::create),
        View::act("/tokens/{id}/revoke", "revokeToken", tokens::revoke),
    ]
}
