//! ELF and wasm files.

/// A component that imports an instance of that name.
fn component(name: &str) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    let mut file = b"\0asm\x0d\0\x01\0\x07\x03\x01\x42\0\x0a".to_vec();
    file.push(length + 5);
    file.extend([1, 0, length]);
    file.extend(name.as_bytes());
    file.extend([5, 0]);
    file
}

#[test]
fn a_component_is_read_as_well_as_a_module() {
    let found = super::fired("a.wasm", &component("wasi:http/outgoing-handler@0.2.0"));
    assert_eq!(found, [("network-client", 1)]);
    assert_eq!(super::fired("a.wasm", &component("wasi:clocks/wall-clock@0.2.0")), []);
}

#[test]
fn a_real_program_of_this_machine_is_read() {
    let real = std::fs::read("/usr/bin/env").unwrap();
    let found = super::fired("own", &real);
    assert!(found.iter().any(|(rule, _)| *rule == "runs-programs"), "{found:?}");
    assert!(!found.iter().any(|(rule, _)| ["not-read", "opaque-code"].contains(rule)), "{found:?}");
}
