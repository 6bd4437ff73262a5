//! The self-check: a layer that is demanded and not in force stops the start, and the answer names it.

#[cfg(not(feature = "break-layers"))]
#[test]
fn a_broken_layer_stops_the_start() {
    println!("skipped: needs feature break-layers");
}

#[cfg(feature = "break-layers")]
#[test]
fn a_broken_layer_stops_the_start() {
    use ringfence_sandbox::{Access, LaunchError, Layer, Layers, Plan, Program, Stdio};

    use crate::rig::{self, both, children, found, launcher, plan, run};

    both(|| {
        let place = rig::directory(0o777);
        let marker = place.path().join("marker");
        let unbroken = || {
            let mut plan = plan(&["write", marker.to_str().unwrap()]);
            plan.mount(found(place.path()), Access::READ_WRITE);
            plan
        };
        let _started = launcher();
        let before = children().len();
        for layer in Layer::ALL {
            let mut broken = unbroken();
            broken.break_layers(Layers::of(&[layer]));
            let named = match launcher().launch(&broken, Stdio::null().unwrap()) {
                Ok(_) => panic!("{layer} is broken, and the program was started"),
                Err(LaunchError::Unproven { layers }) => layers.contains(layer),
                // Some steps need the layer: without namespaces there is nothing to mount in, without no_new_privs no
                // filter. Nothing runs then either; what matters is that it is a refusal of a layer.
                Err(LaunchError::NotEnforceable { layer: told, .. }) => told == layer || needs(told, layer),
                Err(other) => panic!("{layer}: {other}"),
            };
            assert!(named, "the answer does not name {layer}");
            assert!(!marker.exists(), "{layer} is broken, and the program ran");
            assert_eq!(children().len(), before, "{layer}: nothing is left");
            assert!(rig::leaves_of(std::process::id()).is_empty(), "{layer}: no cgroup is left");
        }
        // Without a mount namespace of its own PID 1 is in the launcher's, whose root is like a sandbox's.
        let mut in_the_launchers = Plan::new(Program::find("true".as_ref(), "/".as_ref()).unwrap());
        assert!(launcher().launch(&in_the_launchers, Stdio::null().unwrap()).is_ok());
        in_the_launchers.break_layers(Layers::of(&[Layer::Mount]));
        let refused = launcher().launch(&in_the_launchers, Stdio::null().unwrap());
        let unproven = |layers: Layers| layers.contains(Layer::Mount);
        assert!(matches!(refused, Err(LaunchError::Unproven { layers }) if unproven(layers)), "{refused:?}");
        assert!(run(&unbroken()).is_ok());
        assert!(marker.exists(), "the twin ran");
    });

    /// Whether `told` cannot be set up without `broken`.
    fn needs(told: Layer, broken: Layer) -> bool {
        matches!(
            (broken, told),
            (Layer::User, _)
                | (Layer::NoNewPrivileges, Layer::Landlock | Layer::Seccomp)
                | (Layer::Pid, Layer::Mount)
                // A rule for what was granted finds nothing where nothing was mounted.
                | (Layer::Mount, Layer::Landlock)
                | (Layer::Limits, Layer::Limits)
        )
    }
}
