//! Every page and act. The second column names the operation of the API whose role and reach hold for it; an act carries it out.

use super::view::View;
use super::{plugin, plugins};

pub(super) fn views() -> Vec<View> {
    let mut all = vec![
        View::page("", "listPlugins", plugins::list),
        View::page("/plugins", "listPlugins", plugins::list),
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
    ]
}
