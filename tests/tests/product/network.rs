//! No network by default: listeners of the host must not hear a byte.

use ringfence_testkit::{Case, Listener, World, users};

#[test]
fn tcp_and_udp_to_the_host() {
    for who in users() {
        let world = World::new(who);
        let (tcp, udp) = (Listener::tcp(), Listener::udp());
        let (tcp_port, udp_port) = (tcp.port.to_string(), udp.port.to_string());
        for address in ["127.0.0.1", "127.0.0.2", "0.0.0.0"] {
            for act in [
                ["tcp", address, &tcp_port],
                ["fastopen", address, &tcp_port],
                ["mptcp", address, &tcp_port],
                ["udp", address, &udp_port],
            ] {
                let run = world
                    .probe(&["--grant", "subprocess:execute"], &[act[0], act[1], act[2], "{canary}"])
                    .run();
                assert!(!run.act().ok || act[0] == "udp", "{act:?} as {who:?}\n{run}");
            }
        }
        assert_eq!((tcp.heard(), udp.heard()), (0, 0), "as {who:?}");
        for act in [["tcp", "127.0.0.1", &tcp_port], ["udp", "127.0.0.1", &udp_port]] {
            let run = world.bare(&[act[0], act[1], act[2], "{canary}"]).run();
            assert!(run.act().ok, "bare {act:?}\n{run}");
        }
        assert!(tcp.heard() > 0 && udp.heard() > 0, "bare: {} and {}", tcp.heard(), udp.heard());
    }
}

#[test]
fn abstract_and_path_name_sockets() {
    for who in users() {
        let world = World::new(who);
        // Not the marker: the listener outlives the runs that are searched for it.
        let name = world.marker.replace("mark", "name");
        let other = World::new(who);
        let host = other.bare(&["abstract-listen", &name]).spawn();
        host.wait_for("ready");
        let run = world.probe(&[], &["abstract", &name, "{canary}"]).run();
        assert!(!run.act().ok, "as {who:?}\n{run}");
        assert!(!String::from_utf8_lossy(&host.so_far()).contains(&world.canary), "as {who:?}");
        let bare = world.bare(&["abstract", &name, "{canary}"]).run();
        assert!(bare.act().ok, "bare\n{bare}");
        host.wait_for(&world.canary);

        let path = world.path("data/host.sock");
        let host = Listener::unix(&path);
        let run = world.probe(&["--ro", "{grant}"], &["unix", "{data}/host.sock", "{canary}"]).run();
        assert!(!run.act().ok && host.heard() == 0, "as {who:?}\n{run}");
        let bare = world.bare(&["unix", "{data}/host.sock", "{canary}"]).run();
        assert!(bare.act().ok && host.heard() > 0, "bare\n{bare}");
    }
}

#[test]
fn odd_socket_families() {
    // vsock, packet, alg, netlink (audit, kobject, netfilter), bluetooth, tipc, can, xdp, raw and icmp.
    for (family, kind, protocol) in [
        ("40", "1", "0"),
        ("17", "3", "768"),
        ("38", "5", "0"),
        ("16", "3", "9"),
        ("16", "3", "15"),
        ("16", "3", "12"),
        ("31", "3", "1"),
        ("30", "1", "0"),
        ("29", "3", "1"),
        ("44", "3", "0"),
        ("2", "3", "1"),
        ("2", "2", "1"),
    ] {
        for who in users() {
            let world = World::new(who);
            let run =
                world.probe(&["--grant", "subprocess:execute"], &["socket", family, kind, protocol]).run();
            assert!(!run.act().ok, "socket({family}, {kind}, {protocol}) as {who:?}\n{run}");
        }
    }
    // The control: these families exist here, so that the refusals above are refusals.
    for (family, kind, protocol) in [("17", "3", "768"), ("16", "3", "9"), ("2", "3", "1")] {
        Case::new("net", &["socket", family, kind, protocol]).as_root().denied(&[]).check();
    }
}

#[test]
fn a_socket_pair_works() {
    for who in users() {
        let run = World::new(who).probe(&[], &["socketpair"]).run();
        assert!(run.act().ok, "as {who:?}\n{run}");
    }
}

#[test]
fn a_listener_inside_is_not_reachable() {
    for who in users() {
        let world = World::new(who);
        let port = Listener::tcp().port.wrapping_add(17).max(20000).to_string();
        let running = world.probe(&[], &["listen", &port, "1"]).spawn();
        // `ready` comes once it listens; where listening itself is refused the run ends with its answer.
        running.wait_for("\n");
        let outside = world.bare(&["tcp", "127.0.0.1", &port, "hello"]).run();
        assert!(!outside.act().ok, "as {who:?}\n{outside}");
        assert!(running.finish().code.is_some());
    }
}

#[test]
fn network_grants_are_refused_until_there_is_egress() {
    for who in users() {
        let run = World::new(who).probe(&["--grant", "network:request=example.com:443"], &["hello"]).run();
        run.expect_code(125);
        assert_eq!(run.report["error"]["code"], "not_supported", "{run}");
        assert!(run.acts().is_empty(), "{run}");
    }
}
