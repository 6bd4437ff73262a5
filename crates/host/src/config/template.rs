//! The commented configuration file. Its values are taken from the defaults, so the two cannot differ.

use super::Config;
use crate::units::{format_duration, format_size};

pub(super) fn template() -> String {
    format!("{}\n{}\n{PLUGIN_TYPES}\n{DATABASES}\n{NETWORK}\n{}", commands(), plugins(), server())
}

/// The kinds are the application's, so this is only an example.
const PLUGIN_TYPES: &str = r#"# Kinds of Python plugins. A plugin with `type: NAME` in its manifest must be a class that derives from this base class. The
# directory that it is imported from is shown, read-only, to every Python plugin: nothing but base classes belongs there.
[plugin_types]
# [plugin_types.processor]
# base_class = "agent.plugins.Processor"
# path = "/srv/agent/plugin-api"
# The methods that every plugin of the type answers as tools, whether or not its manifest declares them.
# tools = ["process"]
"#;

/// Nothing is offered by default, so this is only an example.
const DATABASES: &str = r#"# SQLite databases that plugins may be granted: the name that stands in the grant, and the absolute path. A plugin with
# database:read=crm or database:write=crm may use every table, one with database:read=crm.customers only that one. In a table
# of its own a database can be offered for reading only, with some of its tables, or with another time for one statement (3s).
# See docs/databases.md.
[databases]
# crm = "/srv/crm.db"
# [databases.shop]
# path = "/srv/shop.db"
# read_only = true
# tables = ["customers", "orders"]
# time_limit = "3s"
"#;

/// Both come from the system by default.
const NETWORK: &str = r#"# How the host reaches the network for plugins that were granted network:request. See docs/network.md.
[network]
# The name server to ask in the place of those in /etc/resolv.conf: an address and a port. /etc/hosts comes before either.
# resolver = "192.0.2.53:53"
# Certificates of authorities that are trusted beside those of the system: a file in PEM form.
# ca_file = "/etc/ringfence/ca.pem"
"#;

fn size(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "none".to_owned(), format_size)
}

fn count(count: Option<u64>) -> String {
    count.map_or_else(|| "\"none\"".to_owned(), |count| count.to_string())
}

fn commands() -> String {
    let Config { limits_backend, exec, runs, .. } = Config::default();
    format!(
        r#"# Ringfence's configuration: config.toml in its home ($RINGFENCE_HOME, else ~/.local/share/ringfence).
# Every line that begins with a single '#' and a name shows a default; remove the '#' to change it.
# Sizes take B, KB, MB, GB (powers of 1000) and KiB, MiB, GiB (powers of 1024), durations ms, s, m, h.
# A bare number is bytes or seconds. "none" lifts a limit.

# What enforces the limits of memory, processor and processes: "auto" (the strongest that this machine
# offers), "cgroup-v1", "cgroup-v2" or "sampler". RINGFENCE_LIMITS_BACKEND overrides it.
#limits_backend = "{backend}"

# The limits of one command, unless a flag of `ringfence exec` says otherwise.
[exec]
# Wall-clock time.
#timeout = "{timeout}"
# Memory of all processes of the command together.
#memory = "{memory}"
# Processor time, in percent of one core.
#cpu = {cpu}
# Processes and threads.
#processes = {processes}
# Standard output and standard error together.
#max_output = "{output}"
# The size of any one file that it writes.
#max_file_size = "{file_size}"
# Open files of one process.
#max_open_files = {open_files}

# What is kept of past runs (`ringfence runs list`). The oldest go first.
[runs]
# How many.
#keep = {keep}
# All of them together.
#max_total_size = "{total}"
# The stored output of one run; what is beyond is not stored (it was shown all the same).
#max_run_size = "{run}"
"#,
        backend = limits_backend.as_str(),
        timeout = exec.timeout.map_or_else(|| "none".to_owned(), format_duration),
        memory = size(exec.memory_bytes),
        cpu = count(exec.cpu_percent.map(u64::from)),
        processes = count(exec.processes),
        output = size(exec.output_bytes),
        file_size = size(exec.file_size_bytes),
        open_files = count(exec.open_files),
        keep = runs.max_runs,
        total = format_size(runs.max_total_bytes),
        run = format_size(runs.max_run_bytes),
    )
}

fn plugins() -> String {
    let plugins = Config::default().plugins;
    format!(
        r#"# The limits of a plugin. Its manifest may ask for less, never for more.
[plugins]
# Where `ringfence scan` looks for plugins, beside `plugins` in the home. Absolute paths.
#directories = []
# From the start to the answer to `initialize`.
#init_timeout = "{init_timeout}"
# One call.
#call_timeout = "{call_timeout}"
# Between two questions whether it still answers; three without an answer end it.
#ping_interval = "{ping_interval}"
# Memory of all its processes together.
#memory = "{plugin_memory}"
# Processor time, in percent of one core.
#cpu = {plugin_cpu}
# Processes and threads.
#processes = {plugin_processes}
# The size of any one file that it writes.
#max_file_size = "{plugin_file_size}"
# Open files of one process.
#max_open_files = {plugin_open_files}
# What is kept of its log.
#max_log_size = "{log}"
# Its private data: the directory and the key-value store, each.
#data_size = "{data_size}"
# Files in that directory, and keys in that store.
#data_keys = {data_keys}
# Calls that wait or run at the same time.
#queued_calls = {queued_calls}
# One handler at one event.
#hook_timeout = "{hook_timeout}"
# All mutators and guards of one event together.
#hook_budget = "{hook_budget}"
# Messages that a plugin may post, and hooks that it may register, in a second; twice as many at once.
#events_per_second = {events_per_second}
# How often its handlers are asked in a second, all events together; twice as many at once. Above it they are passed over, and
# guards block.
#hooks_per_second = {hooks_per_second}
# What it may ask of its host in a second; as much at once. Above it nothing is read, and it waits for itself.
#requests_per_second = {requests_per_second}

# What runs Python and Node plugins: absolute paths. A version manager's shim is resolved. Without them the first that
# exists is taken of /usr/bin/python3 and /usr/local/bin/python3, and of /usr/bin/node, /usr/local/bin/node and
# /usr/bin/nodejs.
[interpreters]
# python = "/opt/python/bin/python3"
# node = "/opt/node/bin/node"
"#,
        init_timeout = format_duration(plugins.init_timeout),
        call_timeout = format_duration(plugins.call_timeout),
        ping_interval = format_duration(plugins.ping_interval),
        plugin_memory = size(plugins.memory_bytes),
        plugin_cpu = count(plugins.cpu_percent.map(u64::from)),
        plugin_processes = count(plugins.processes),
        plugin_file_size = size(plugins.file_size_bytes),
        plugin_open_files = count(plugins.open_files),
        log = format_size(plugins.log_bytes),
        data_size = format_size(plugins.data_bytes),
        data_keys = plugins.data_keys,
        queued_calls = plugins.queued_calls,
        hook_timeout = format_duration(plugins.hook_timeout),
        hook_budget = format_duration(plugins.hook_budget),
        events_per_second = plugins.events_per_second,
        hooks_per_second = count(plugins.hooks_per_second),
        requests_per_second = plugins.requests_per_second,
    )
}

fn server() -> String {
    let server = Config::default().server;
    let listen: Vec<String> = server.listen.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        r#"# The daemon, `ringfence serve`. See docs/administering.md.
[server]
# Where it listens for HTTP. Anything but loopback needs a certificate. Its Unix socket is always daemon.sock in the home.
#listen = [{listen}]
# The certificate chain, the server's own first, and its private key: files in PEM form.
# tls_certificate = "/etc/ringfence/server.pem"
# tls_key = "/etc/ringfence/server.key"
# Names by which it may be called beside its addresses and localhost, such as ["ringfence.example.com"].
#names = []
# Directories below which an installation over HTTP may take packages. Without any, nothing is installed over HTTP.
#install_from = []
# How long requests that are under way may go on when it stops.
#drain_timeout = "{drain}"
# How much its log says: "off", "error", "warn", "info", "debug" or "trace". RINGFENCE_LOG overrides it.
#log = "{log}"
"#,
        listen = listen.join(", "),
        drain = format_duration(server.drain_timeout),
        log = server.log.as_str(),
    )
}
