#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ringfence_fuzz::audits::audit_records(data));
