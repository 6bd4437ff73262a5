//! What must hold of the kernel's records for any bytes. The fuzz target and an ordinary test call the same function.

use ringfence_sandbox::audit::{ACCESS, DENIALS_MAX, DOMAIN, Ledger, Record};

/// The process whose sandbox it is.
const PROCESS: u32 = 300;

/// Whatever lines come, nothing panics, what is kept is bounded, nothing is counted that was not told, and names of rights
/// are letters. Each line is one record; its first byte says of which type.
pub fn audit_records(data: &[u8]) {
    let mut ledger = Ledger::of(PROCESS);
    let mut told = 0u64;
    for line in data.split(|byte| *byte == b'\n') {
        let Some((kind, text)) = line.split_first() else { continue };
        let kind = if kind % 2 == 0 { ACCESS } else { DOMAIN };
        let Some(record) = Record::parse(kind, text) else { continue };
        if let Record::Refused { blockers, .. } = &record {
            told += 1;
            assert!(!blockers.is_empty());
            for name in blockers {
                let letter =
                    |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte);
                assert!(!name.is_empty() && name.bytes().all(letter), "{name:?}");
            }
        }
        ledger.take(record);
    }
    let counted: u64 = ledger.denials().iter().map(|denial| denial.count).sum();
    assert!(ledger.denials().len() <= DENIALS_MAX && counted + ledger.unlisted() <= told);
    assert!(ledger.unrecorded(u64::MAX) == 0);
}
