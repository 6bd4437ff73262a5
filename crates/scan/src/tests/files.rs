//! Small ELF and wasm files, made byte by byte.

/// A shared library for x86-64 that imports these symbols and holds this text.
pub(super) fn elf(symbols: &[&str], text: &[u8]) -> Vec<u8> {
    let mut names = vec![0_u8];
    let mut table = vec![0_u8; 24];
    for symbol in symbols {
        table.extend(u32::try_from(names.len()).unwrap().to_le_bytes());
        // Global, a function, of no section: to be found elsewhere.
        table.extend([0x12, 0, 0, 0]);
        table.extend([0_u8; 16]);
        names.extend(symbol.as_bytes());
        names.push(0);
    }
    let (table_at, names_at) = (64, 64 + table.len());
    let text_at = names_at + names.len();
    let sections_at = (text_at + text.len()).next_multiple_of(8);
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([0_u8; 16]);
    file.extend((sections_at as u64).to_le_bytes());
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
    file.extend(&table);
    file.extend(&names);
    file.extend(text);
    file.resize(sections_at, 0);
    file.extend([0_u8; 64]);
    let mut section = |kind: u32, at: usize, size: usize, link: u32, info: u32, entry: u64| {
        file.extend(0_u32.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend([0_u8; 16]);
        file.extend((at as u64).to_le_bytes());
        file.extend((size as u64).to_le_bytes());
        file.extend(link.to_le_bytes());
        file.extend(info.to_le_bytes());
        file.extend(1_u64.to_le_bytes());
        file.extend(entry.to_le_bytes());
    };
    section(11, table_at, table.len(), 2, 1, 24);
    section(3, names_at, names.len(), 0, 0, 0);
    file
}

/// A module that imports these functions, as `(module, name)`.
pub(super) fn wasm(imports: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let mut list = vec![u8::try_from(imports.len()).unwrap()];
    for (module, name) in imports {
        list.extend(text(module));
        list.extend(text(name));
        list.extend([0, 0]);
    }
    // One type, of functions that take and give nothing.
    let mut file = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02".to_vec();
    file.push(u8::try_from(list.len()).unwrap());
    file.extend(list);
    file
}
