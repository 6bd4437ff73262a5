//! The network that a launcher's sandboxes share: empty, and each alone in it.

use ringfence_sandbox::{Launcher, Layer, Layers, Network};

use crate::rig::{self, bare, both, files, finish, number, plan, run, run_with, within};

const EPERM: i32 = 1;

#[test]
fn sandboxes_share_an_empty_network() {
    both(|| {
        let launcher = Launcher::start_with_shared_network().unwrap();
        let inode = |network| {
            let mut plan = plan(&["namespace", "net"]);
            let run = run_with(&launcher, plan.network(network));
            assert_eq!(run.report.shared_network, network == Network::Shared);
            assert!(run.report.layers == Layers::ALL, "{run:?}");
            number(&run.text, "inode ")
        };
        let shared = inode(Network::Shared);
        assert_eq!(shared, inode(Network::Shared));
        assert_ne!(shared, inode(Network::Fresh));
        assert_ne!(shared, number(&bare(&["namespace", "net"]), "inode "), "not the host's");
        for network in [Network::Shared, Network::Fresh] {
            let mut plan = plan(&["loopback"]);
            assert!(run_with(&launcher, plan.network(network)).text.ends_with("ok down\n"));
        }
        assert!(bare(&["loopback"]).starts_with("ok"));
    });
}

#[test]
fn abstract_sockets_stay_apart() {
    both(|| {
        let launcher = Launcher::start_with_shared_network().unwrap();
        let name = format!("@{}", rig::token("abstract"));
        let (stdio, out, errors) = files();
        let mut listening = plan(&["listen", &name]);
        let sandbox = launcher.launch(listening.network(Network::Shared), stdio).unwrap();
        within(std::time::Duration::from_secs(5), "it listens", || rig::text_of(&out).contains("listening"));
        let mut connecting = plan(&["connect", &name]);
        let denied = run_with(&launcher, connecting.network(Network::Shared));
        assert_eq!(denied.errno(), Some(EPERM), "{denied:?}");
        // It is Landlock's scope that holds: without that layer the name is reached.
        connecting.weaken(Layers::of(&[Layer::Landlock]));
        assert!(run_with(&launcher, &connecting).is_ok());
        sandbox.kill().unwrap();
        finish(sandbox, &out, &errors);
        let mut own = plan(&["connect-own", &name]);
        assert!(run_with(&launcher, own.network(Network::Shared)).is_ok());
    });
}

/// A network that was made ahead is used once: two sandboxes never meet in it.
#[test]
fn a_network_made_ahead_is_for_one() {
    both(|| {
        let launcher = Launcher::start_for_one().unwrap();
        let inode = || number(&run_with(&launcher, &plan(&["namespace", "net"])).text, "inode ");
        let (first, second, third) = (inode(), inode(), inode());
        // The number of a namespace that has gone may be given out again, so only the one that stays is compared.
        assert!(first != second && first != third);
        let host = number(&bare(&["namespace", "net"]), "inode ");
        assert!(![first, second, third].contains(&host));
        launcher.end();
        assert!(rig::leaves_of(std::process::id()).is_empty() && rig::children().is_empty());
    });
}

#[test]
fn a_launcher_without_one_makes_a_fresh_one() {
    both(|| {
        let mut plan = plan(&["true"]);
        let run = run(plan.network(Network::Shared));
        assert!(run.is_ok() && !run.report.shared_network);
    });
}
