//! Every route of the API.

use axum::http::Method;
use ringfence_api::Role;

use super::route::{Access, Route};
use super::{audit, calls, exec, health, links, metrics, openapi, plugins, runs, settings, stream, tokens};

const VIEWER: Access = Access::Role(Role::Viewer);
const OPERATOR: Access = Access::Role(Role::Operator);
const ADMIN: Access = Access::Role(Role::Admin);

const IF_MATCH: (&str, &str) =
    ("If-Match", "The ETag of what was read: the change is refused when somebody else was faster.");
const IDEMPOTENCY: (&str, &str) =
    ("Idempotency-Key", "The same key again with the same request: done once, answered again.");
const LAST_EVENT: (&str, &str) =
    ("Last-Event-ID", "The `id` of the last event that was seen: the stream goes on behind it.");

pub(crate) fn routes() -> Vec<Route> {
    let mut all = about_plugins();
    all.extend(about_their_past());
    all.extend(about_settings());
    all.extend(about_work());
    all.extend(about_the_host());
    all
}

fn about_plugins() -> Vec<Route> {
    let (post, delete) = (Method::POST, Method::DELETE);
    vec![
        Route::get("/plugins", VIEWER, "All installed plugins", "listPlugins", plugins::list).filtered(),
        Route::act(post.clone(), "/plugins", ADMIN, "Installs a package", "installPlugin", plugins::install)
            .header(IDEMPOTENCY.0, IDEMPOTENCY.1),
        Route::act(
            post.clone(),
            "/plugins/scan",
            VIEWER,
            "Packages that are found in the plugin directories",
            "scanPlugins",
            plugins::scan,
        ),
        Route::get("/plugins/{name}", VIEWER, "Everything about one plugin", "showPlugin", plugins::show),
        Route::act(
            delete.clone(),
            "/plugins/{name}",
            ADMIN,
            "Uninstalls a plugin",
            "uninstallPlugin",
            plugins::uninstall,
        ),
        Route::act(
            post.clone(),
            "/plugins/{name}/activate",
            OPERATOR,
            "Starts a plugin and keeps it active",
            "activatePlugin",
            plugins::activate,
        ),
        Route::act(
            post.clone(),
            "/plugins/{name}/deactivate",
            OPERATOR,
            "Stops a plugin",
            "deactivatePlugin",
            plugins::deactivate,
        ),
        Route::act(
            post.clone(),
            "/plugins/{name}/upgrade",
            ADMIN,
            "Takes another version",
            "upgradePlugin",
            plugins::upgrade,
        ),
        Route::act(
            delete,
            "/plugins/{name}/upgrade",
            ADMIN,
            "Drops the version that waits for consent; the installed one runs on",
            "abandonUpgrade",
            settings::abandon_upgrade,
        )
        .header(IF_MATCH.0, IF_MATCH.1),
        Route::act(
            post,
            "/plugins/{name}/rollback",
            ADMIN,
            "Goes back to the version before",
            "rollbackPlugin",
            plugins::rollback,
        ),
    ]
}

fn about_their_past() -> Vec<Route> {
    vec![
        Route::get(
            "/plugins/{name}/activity",
            VIEWER,
            "What is recorded of a plugin, the last first",
            "pluginActivity",
            plugins::activity,
        ),
        Route::get("/plugins/{name}/logs", VIEWER, "The end of a plugin's log", "pluginLogs", plugins::logs),
        Route::get(
            "/plugins/{name}/resources",
            VIEWER,
            "What a plugin has used lately",
            "pluginResources",
            plugins::resources,
        ),
        Route::get(
            "/plugins/{name}/denials",
            VIEWER,
            "What was refused, with the grant that would allow it",
            "pluginDenials",
            plugins::denials,
        ),
    ]
}

fn about_settings() -> Vec<Route> {
    vec![
        Route::get(
            "/plugins/{name}/config",
            VIEWER,
            "A plugin's configuration, secrets hidden",
            "getConfig",
            settings::config,
        ),
        Route::act(
            Method::PUT,
            "/plugins/{name}/config",
            ADMIN,
            "Replaces a plugin's configuration",
            "setConfig",
            settings::set_config,
        )
        .header(IF_MATCH.0, IF_MATCH.1),
        Route::get("/plugins/{name}/grants", VIEWER, "What is granted", "getGrants", settings::grants),
        Route::act(
            Method::PUT,
            "/plugins/{name}/grants",
            ADMIN,
            "Consents to these grants and no others; a waiting upgrade is carried out",
            "setGrants",
            settings::set_grants,
        )
        .header(IF_MATCH.0, IF_MATCH.1),
    ]
}

fn about_work() -> Vec<Route> {
    let post = Method::POST;
    vec![
        Route::act(post.clone(), "/plugins/{name}/call", OPERATOR, "Calls a tool", "callTool", calls::call)
            .header(IDEMPOTENCY.0, IDEMPOTENCY.1),
        Route::get("/hooks", VIEWER, "Who takes part in which event", "listHooks", calls::hooks),
        Route::act(
            post.clone(),
            "/hooks/{event}",
            OPERATOR,
            "Passes an event through the plugins",
            "runHook",
            calls::hook,
        ),
        Route::act(
            post.clone(),
            "/events",
            OPERATOR,
            "Sends a message to plugins",
            "postEvent",
            calls::event,
        ),
        Route::get(
            "/executions",
            VIEWER,
            "Recorded calls, the last first",
            "listExecutions",
            calls::executions,
        )
        .filtered(),
        Route::act(post.clone(), "/exec", ADMIN, "Runs one command in a sandbox", "exec", exec::begin),
        Route::get("/runs", VIEWER, "Stored runs of commands", "listRuns", runs::list),
        Route::get("/runs/{id}", VIEWER, "One stored run", "showRun", runs::show),
        Route::act(post, "/runs/{id}/cancel", ADMIN, "Ends a run that goes on", "cancelRun", runs::cancel),
        Route::get("/runs/{id}/stream", VIEWER, "The output of a run as it comes", "streamRun", runs::stream)
            .header(LAST_EVENT.0, LAST_EVENT.1),
    ]
}

fn about_the_host() -> Vec<Route> {
    vec![
        Route::get("/stream", VIEWER, "Everything that happens, as it happens", "stream", stream::everything)
            .filtered()
            .header(LAST_EVENT.0, LAST_EVENT.1),
        Route::get("/audit", VIEWER, "A page of the audit trail", "listAudit", audit::list),
        Route::get(
            "/audit/verify",
            VIEWER,
            "Whether the audit trail is as it was written",
            "verifyAudit",
            audit::verify,
        ),
        Route::get(health::PATH, Access::Open, "Whether the host is well", "health", health::health)
            .filtered(),
        Route::get("/metrics", VIEWER, "Figures for Prometheus", "metrics", metrics::metrics),
        Route::get("/tokens", ADMIN, "All tokens, without their secrets", "listTokens", tokens::list),
        Route::act(
            Method::POST,
            "/tokens",
            ADMIN,
            "Makes a token, whose secret is shown this once",
            "createToken",
            tokens::create,
        ),
        Route::act(
            Method::DELETE,
            "/tokens/{id}",
            ADMIN,
            "Takes a token back at once",
            "revokeToken",
            tokens::revoke,
        ),
        Route::act(
            Method::POST,
            "/dashboard/links",
            ADMIN,
            "Makes an address that opens the dashboard once; only for the daemon's own user, over its socket",
            "createDashboardLink",
            links::create,
        ),
        Route::get("/openapi.json", VIEWER, "This document", "openapi", openapi::served).filtered(),
    ]
}
