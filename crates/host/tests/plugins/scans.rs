//! The scan of a package's code: who is told, what is kept, and what an administrator lets block.

use ringfence::plugin::{Consent, KeepData};
use ringfence::scan::{Ran, Scanner};
use ringfence::{Home, Host, HostBuilder};
use ringfence_api::{ErrorCode, PermissionName};

use crate::rig::Rig;

const CODE: &str = "import os as o\ndef f(a):\n    return o.system('ls')\n";
/// Prints what lies in the package: a scan that a package has taken over can do no worse.
const LIES: [&str; 3] = ["/bin/sh", "-c", "read -r line < \"$0/answer\"; printf '%s' \"$line\""];

fn rules(report: &ringfence::scan::Report) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

async fn another(
    rig: &Rig,
    change: impl FnOnce(HostBuilder) -> HostBuilder,
) -> Result<Host, ringfence::Error> {
    change(Host::builder().home(Home::at(rig.path("other")))).build().await
}

#[tokio::test]
async fn findings_go_with_install_consent_and_show_and_block_nothing() {
    let rig = Rig::new().await;
    let package = rig.python_package("p", "1.0.0", "", &["f"], CODE);
    let seen = rig.host.scan_package(&package).await.unwrap();
    let installed = rig.host.install(&package, Consent::Absent).await.unwrap();
    assert_eq!((rules(&installed.scan), installed.scan.ran.clone()), (vec!["runs-programs"], Ran::InProcess));
    assert_eq!(seen, installed.scan);
    assert_eq!(installed.scan.implied(), [PermissionName::SubprocessExecute]);
    let asked = rig.host.consent_request("p").await.unwrap();
    let line = "  - main.py:3 runs-programs 'os.system' starts other programs; that needs subprocess:execute";
    assert!(asked.to_string().contains(line), "{asked}");
    assert_eq!(rig.host.show("p").await.unwrap().asks.scan, installed.scan);

    // A version that asks for what it does.
    let asks = "permissions: [subprocess:execute]\n";
    let second = rig.python_package("p", "2.0.0", asks, &["f"], CODE);
    let upgraded = rig.host.upgrade(&second, Consent::Requested, Default::default()).await.unwrap();
    let scan = upgraded.scan.unwrap();
    assert_eq!((rules(&scan), scan.implied()), (vec!["runs-programs"], Vec::new()));
    rig.host.shutdown().await;
}

#[tokio::test]
async fn what_was_seen_is_kept_by_digest_and_goes_with_the_plugin() {
    let rig = Rig::new().await;
    let package = rig.python_package("p", "1.0.0", "", &["f"], CODE);
    let digest = rig.host.install(&package, Consent::Absent).await.unwrap().digest;
    let kept = std::fs::read_dir(rig.path("home/scans")).unwrap().next().unwrap().unwrap().path();
    assert!(kept.file_name().unwrap().to_str().unwrap().starts_with(&digest));
    // What is kept is what is shown, until it is gone: then it is made again.
    let text = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, text.replace("runs-programs", "dynamic-code")).unwrap();
    assert_eq!(rules(&rig.host.show("p").await.unwrap().asks.scan), ["dynamic-code"]);
    for broken in ["", "{}", "[1]"] {
        std::fs::write(&kept, broken).unwrap();
        assert_eq!(rules(&rig.host.show("p").await.unwrap().asks.scan), ["runs-programs"], "{broken}");
    }
    rig.host.uninstall("p", KeepData::No).await.unwrap();
    assert_eq!(std::fs::read_dir(rig.path("home/scans")).unwrap().count(), 0);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_rule_that_an_administrator_names_blocks_and_another_does_not() {
    let rig = Rig::new().await;
    let package = rig.python_package("p", "1.0.0", "", &["f"], CODE);
    let host =
        another(&rig, |builder| builder.blocking_rules(["private-key", "runs-programs"])).await.unwrap();
    let refused = host.install(&package, Consent::Absent).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    let message = refused.message();
    assert!(message.contains("'runs-programs' blocks") && message.contains("main.py:3"), "{message}");
    assert!(host.list().await.unwrap().is_empty());
    host.shutdown().await;

    let host = another(&rig, |builder| builder.blocking_rules(["private-key"])).await.unwrap();
    host.install(&package, Consent::Absent).await.unwrap();
    let worse = rig.python_package("p", "2.0.0", "", &["f"], "K = 'AKIAQ3EGTZ7YH2NBVKXC'\ndef f(a): pass\n");
    host.upgrade(&worse, Consent::Absent, Default::default()).await.unwrap();
    host.shutdown().await;
    let host = another(&rig, |builder| builder.blocking_rules(["access-token"])).await.unwrap();
    let third =
        rig.python_package("p", "3.0.0", "", &["f"], "K = 'AKIAQ3EGTZ7YH2NBVKXC'\ndef f(a): return 3\n");
    let refused = host.upgrade(&third, Consent::Absent, Default::default()).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied, "{refused}");
    assert!(!refused.message().contains("Q3EGTZ7YH2NBVKXC"), "{refused}");
    assert_eq!(host.show("p").await.unwrap().version, "2.0.0");
    host.shutdown().await;

    let unknown = another(&rig, |builder| builder.blocking_rules(["privat-key"])).await.unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::InvalidConfig);
    assert_eq!(unknown.hint(), Some("did you mean 'private-key'?"));
}

#[tokio::test]
async fn what_could_not_be_scanned_is_said_and_refused_where_rules_block() {
    let rig = Rig::new().await;
    let package = rig.python_package("p", "1.0.0", "", &["f"], CODE);
    let fails = |builder: HostBuilder| builder.scan_program(["/bin/false"]);
    let host = another(&rig, |builder| fails(builder).blocking_rules(["private-key"])).await.unwrap();
    let refused = host.install(&package, Consent::Absent).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied);
    assert!(refused.message().contains("was not scanned"), "{refused}");
    host.shutdown().await;

    let host = another(&rig, fails).await.unwrap();
    let installed = host.install(&package, Consent::Absent).await.unwrap();
    assert!(matches!(installed.scan.ran, Ran::NotRun(_)), "{:?}", installed.scan);
    let asked = host.consent_request("p").await.unwrap().to_string();
    assert!(asked.contains("the code was not scanned"), "{asked}");
    host.shutdown().await;
}

#[tokio::test]
async fn a_sandboxed_scan_is_not_believed_and_sees_nothing_but_the_package() {
    let rig = Rig::new().await;
    let secret = rig.path("secret");
    std::fs::write(&secret, "s3cret\n").unwrap();
    let answer = r#"{"hits":[{"rule":"no-rule","file":"a","line":1,"column":1,"subject":"x"},{"rule":"dynamic-code","file":"\u001b[2Ja","line":0,"column":0,"subject":"nothing to see;\nIt asks for no permission."}],"more_findings":3,"not_read":[],"more_not_read":0,"files":1,"bytes":1}"#;
    let manifest = "name: p\nversion: 1.0.0\nruntime: python\nentry_point: main.py\ntools: [{name: f}]\n";
    let files = [("plugin.yaml", manifest), ("main.py", CODE), ("answer", answer)];
    let package = rig.package("liar", &files);
    let host = another(&rig, |builder| builder.scan_program(LIES)).await.unwrap();
    let installed = host.install(&package, Consent::Absent).await.unwrap();
    assert_eq!((&installed.scan.ran, rules(&installed.scan)), (&Ran::Sandboxed, vec!["dynamic-code"]));
    let asked = host.consent_request("p").await.unwrap().to_string();
    assert!(asked.contains(r"\u{1b}[2Ja:1 dynamic-code nothing to see;\nIt asks"), "{asked}");
    assert!(asked.contains("- and 4 more"), "{asked}");
    host.shutdown().await;

    // The same program reads a file beside the package where there is no sandbox, and not from inside of it.
    let reads =
        ["/bin/sh".to_owned(), "-c".to_owned(), format!("read -r line < {} && exit 7", secret.display())];
    #[expect(clippy::disallowed_methods, reason = "the same program without a sandbox")]
    let outside = std::process::Command::new(&reads[0]).args(&reads[1..]).status().unwrap();
    assert_eq!(outside.code(), Some(7));
    let Ran::NotRun(why) = Scanner::sandboxed(reads).scan(&package, None).ran else {
        panic!("it gave an answer")
    };
    assert!(why.contains("secret"), "{why}");
}

#[tokio::test]
async fn packages_that_are_found_are_scanned_as_well() {
    let rig = Rig::new().await;
    let plugins = rig.path("home/plugins/p");
    std::fs::create_dir_all(&plugins).unwrap();
    let manifest = "name: p\nversion: 1.0.0\nruntime: python\nentry_point: main.py\n";
    std::fs::write(plugins.join("plugin.yaml"), manifest).unwrap();
    std::fs::write(plugins.join("main.py"), CODE).unwrap();
    let scan = rig.host.scan().await.unwrap();
    assert_eq!(rules(scan.found[0].scan.as_ref().unwrap()), ["runs-programs"]);
    rig.host.shutdown().await;
}

#[tokio::test]
async fn a_rule_that_is_made_to_block_while_an_upgrade_waits_refuses_it() {
    let rig = Rig::new().await;
    rig.active("p", "", &["f"], "def f(a):\n    return 1\n").await;
    let package = rig.python_package("p", "2.0.0", "permissions: ['env:read=LANG']\n", &["f"], CODE);
    let waiting = rig.host.upgrade(&package, Consent::Absent, Default::default()).await.unwrap();
    assert!(!waiting.done);
    let policy = rig.host.home().path().join("policy.toml");
    std::fs::write(&policy, "default = \"allow\"\n[install]\nscan_rules = [\"runs-programs\"]\n").unwrap();
    let refused = rig.host.consent("p", Consent::Requested).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::PolicyDenied, "{refused}");
    assert_eq!(rig.host.show("p").await.unwrap().version, "1.0.0");
    std::fs::write(&policy, "default = \"allow\"\n").unwrap();
    assert_eq!(rig.host.consent("p", Consent::Requested).await.unwrap().version, "2.0.0");
    rig.host.shutdown().await;
}
