//! Defaults, every field, every mistake, and the template.

use super::*;
use std::ffi::OsStr;

fn mistakes(text: &str) -> Vec<String> {
    let error = Config::parse(text).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    assert!(error.hint().unwrap().contains("config-file"));
    error.message().lines().map(|line| line.strip_prefix("config.toml:").unwrap().to_owned()).collect()
}

#[test]
fn an_absent_or_empty_file_has_the_defaults_of_the_design() {
    let dir = tempfile::tempdir().unwrap();
    let absent = Config::load(&Home::at(dir.path().join("no/such"))).unwrap();
    assert_eq!(absent, Config::parse("").unwrap());
    let ExecLimits {
        timeout,
        memory_bytes,
        cpu_percent,
        processes,
        output_bytes,
        file_size_bytes,
        open_files,
    } = absent.exec;
    assert_eq!((timeout, cpu_percent, processes), (Some(Duration::from_secs(600)), Some(80), Some(256)));
    assert_eq!((memory_bytes, output_bytes), (Some(500_000_000), Some(5_000_000)));
    assert_eq!((file_size_bytes, open_files), (Some(100_000_000), Some(1024)));
    assert_eq!(
        absent.runs,
        StoreLimits { max_runs: 200, max_total_bytes: 256 << 20, max_run_bytes: 64 << 20 }
    );
    assert_eq!(absent.limits_backend, LimitsBackend::Auto);
}

#[test]
fn every_field_can_be_set_as_text_or_number_and_lifted() {
    let config = Config::parse(
        "limits_backend = \"sampler\"\n[exec]\ntimeout = 1.5\nmemory = \"1GiB\"\ncpu = 200\nprocesses = 1\n\
         max_output = \"none\"\nmax_file_size = 1_000\nmax_open_files = \"64\"\n\
         [runs]\nkeep = 3\nmax_total_size = \"1MB\"\nmax_run_size = 10\n",
    )
    .unwrap();
    let exec = ExecLimits {
        timeout: Some(Duration::from_millis(1_500)),
        memory_bytes: Some(1 << 30),
        cpu_percent: Some(200),
        processes: Some(1),
        output_bytes: None,
        file_size_bytes: Some(1_000),
        open_files: Some(64),
    };
    let runs = StoreLimits { max_runs: 3, max_total_bytes: 1_000_000, max_run_bytes: 10 };
    assert_eq!(config, Config { limits_backend: LimitsBackend::Sampler, exec, runs, ..Config::default() });
    assert_eq!(Config::parse("[exec]\ncpu = \"none\"").unwrap().exec.cpu_percent, None);
}

#[test]
fn all_mistakes_are_reported_with_their_place_and_what_was_meant() {
    assert_eq!(
        mistakes(
            "limit_backend = 1\n[exec]\n  memroy = 1\n  timeout = 0\n  max-output = 1\n\n[run]\n[runs]\nkeep = \"none\"\n"
        ),
        [
            "1:1: unknown field 'limit_backend'; did you mean 'limits_backend'?",
            "3:3: unknown field 'memroy'; did you mean 'memory'?",
            "4:13: the duration '0' is zero; the smallest is 1ms; say 'none' to lift the limit",
            "5:3: unknown field 'max-output'; did you mean 'max_output'?",
            "7:2: unknown field 'run'; did you mean 'runs'?",
            "9:8: this must be bounded: 'none' is not allowed",
        ]
    );
    assert_eq!(
        mistakes("exec = 1\nruns = []\nlimits_backend = \"cgroup\"\nzzz = 1"),
        [
            "1:1: 'exec' is a table: write [exec]",
            "2:1: 'runs' is a table: write [runs]",
            "3:18: 'cgroup' is no back-end; choose auto, cgroup-v1, cgroup-v2, sampler",
            "4:1: unknown field 'zzz'; here can be databases, exec, interpreters, limits_backend, network, plugin_types, plugins, runs, server",
        ]
    );
    assert_eq!(mistakes("limits_backend = 1"), ["1:18: choose auto, cgroup-v1, cgroup-v2, sampler"]);
    let places =
        mistakes("[exec]\nmemory = true\ncpu = 0x10\nprocesses = 1.5\n[runs]\nkeep = -1\nkeep_all = 1");
    assert_eq!(places.len(), 5, "{places:?}");
    assert!(places[0].starts_with("2:10: expected a number"), "{places:?}");
    assert_eq!(places[3], "6:8: '-1' is not a number from 1 to 100000");
}

#[test]
fn what_is_not_toml_says_where() {
    let places = mistakes("[exec]\nmemory = \n");
    assert!(places[0].starts_with("2:"), "{places:?}");
    assert!(mistakes("[exec]\nmemory = 1\nmemory = 2\n")[0].contains("duplicate key"));
    let columns = mistakes("ü = 1");
    assert!(columns[0].starts_with("1:1: "), "{columns:?}");
}

#[test]
fn the_environment_is_above_the_file() {
    let set = |word: &str| Config::default().with_backend_variable(Some(OsStr::new(word)));
    assert_eq!(set("cgroup-v2").unwrap().limits_backend, LimitsBackend::CgroupV2);
    assert_eq!(set("").unwrap(), Config::default());
    let error = set("v2").unwrap_err();
    assert_eq!(error.message(), "RINGFENCE_LIMITS_BACKEND='v2' is not a back-end");
    assert_eq!(error.hint(), Some("choose auto, cgroup-v1, cgroup-v2, sampler"));
}

#[test]
fn files_that_cannot_be_a_configuration_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let home = Home::at(dir.path());
    let refuse = |content: &[u8]| {
        std::fs::write(home.config_file(), content).unwrap();
        Config::load(&home).unwrap_err()
    };
    assert!(refuse(&vec![b'\n'; 1 << 20 | 1]).message().ends_with("is larger than 1 MiB"));
    assert!(refuse(b"\xff").message().ends_with("is not UTF-8 text"));
    let path = home.config_file().display().to_string();
    assert_eq!(refuse(b"x=1").message().split(':').next(), Some(path.as_str()));
    std::fs::remove_file(home.config_file()).unwrap();
    std::fs::create_dir(home.config_file()).unwrap();
    assert_eq!(Config::load(&home).unwrap_err().code(), ErrorCode::Io);
}

#[test]
fn the_template_is_the_defaults_with_and_without_its_comment_signs() {
    let template = Config::template();
    assert_eq!(Config::parse(&template).unwrap(), Config::default());
    let mut fields = 0;
    let live: Vec<&str> = template
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => {
                fields += 1;
                rest
            }
            _ => line,
        })
        .collect();
    assert_eq!(Config::parse(&live.join("\n")).unwrap(), Config::default());
    assert_eq!(fields, EXEC.len() + RUNS.len() + plugins::PLUGINS.len() + 1 + server::SERVER.len() - 2);
    for field in EXEC.iter().chain(&RUNS).chain(&plugins::PLUGINS) {
        assert!(live.iter().any(|line| line.starts_with(&format!("{field} = "))), "{field}");
    }
    // The two that have no default are examples.
    for field in server::SERVER {
        let shown = live.iter().any(|line| line.trim_start_matches("# ").starts_with(&format!("{field} = ")));
        assert!(shown, "{field}");
    }
}

#[test]
fn plugins_have_the_limits_of_the_design_and_can_be_given_others() {
    let PluginLimits { init_timeout, call_timeout, ping_interval, log_bytes, data_bytes, .. } =
        Config::default().plugins;
    assert_eq!([init_timeout, call_timeout, ping_interval].map(|time| time.as_secs()), [30, 300, 15]);
    assert_eq!((log_bytes, data_bytes), (5_000_000, 1_000_000_000));
    let config = Config::parse(
        "[plugins]\ndirectories = [\"/srv/plugins\"]\ncall_timeout = \"5s\"\ncpu = 200\nmemory = \"none\"\n\
         [interpreters]\npython = \"/opt/py/bin/python3\"\n",
    )
    .unwrap();
    assert_eq!(config.plugin_directories, [PathBuf::from("/srv/plugins")]);
    assert_eq!(config.plugins.call_timeout, Duration::from_secs(5));
    assert_eq!((config.plugins.cpu_percent, config.plugins.memory_bytes), (Some(200), None));
    assert_eq!(config.interpreters.python, Some("/opt/py/bin/python3".into()));
}

#[test]
fn paths_of_plugins_must_be_absolute_and_their_bounds_stay() {
    let text = "[plugins]\ndirectories = [\"srv\"]\ncall_timeout = \"none\"\n[interpreters]\npyhton = \"/x\"\nnode = 3\n";
    let expected = [
        "2:16: expected an absolute path, such as \"/opt/python/bin/python3\"",
        "3:16: this must be bounded: 'none' is not allowed",
        "5:1: unknown field 'pyhton'; did you mean 'python'?",
        "6:8: expected an absolute path, such as \"/opt/python/bin/python3\"",
    ];
    assert_eq!(mistakes(text), expected);
}
