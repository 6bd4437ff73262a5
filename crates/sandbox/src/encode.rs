//! Writes the request that [`crate::wire`] reads.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Bytes in the wire layout.
#[derive(Debug, Default, Clone)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn u32(&mut self, number: u32) -> &mut Self {
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(crate) fn u64(&mut self, number: u64) -> &mut Self {
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self
    }

    pub(crate) fn blob(&mut self, bytes: &[u8]) -> &mut Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Text with a final NUL. A NUL inside makes the launcher refuse the whole request; [`crate::Plan`] refuses it
    /// earlier and with a better message.
    pub(crate) fn text(&mut self, text: &OsStr) -> &mut Self {
        let bytes = text.as_bytes();
        self.u32(u32::try_from(bytes.len() + 1).unwrap_or(u32::MAX));
        self.bytes.extend_from_slice(bytes);
        self.bytes.push(0);
        self
    }

    /// A number of records, as the launcher walks them.
    pub(crate) fn records(&mut self, records: &Records) -> &mut Self {
        self.u32(records.count).blob(&records.writer.bytes)
    }

    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Records under way: each [`Records::add`] counts one.
#[derive(Debug, Default, Clone)]
pub(crate) struct Records {
    count: u32,
    writer: Writer,
}

impl Records {
    pub(crate) fn add(&mut self) -> &mut Writer {
        self.count += 1;
        &mut self.writer
    }

    /// Adds all records of `others` behind the own.
    pub(crate) fn append(&mut self, others: &Self) {
        self.count += others.count;
        self.writer.bytes.extend_from_slice(&others.writer.bytes);
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Reader;

    #[test]
    fn what_is_written_is_read() {
        let mut records = Records::default();
        records.add().text(OsStr::new("one"));
        records.add().text(OsStr::new(""));
        let mut writer = Writer::default();
        writer.u32(7).u64(1 << 40).blob(b"\0\x01").text(OsStr::new("päth")).records(&records);
        let bytes = writer.into_bytes();
        let mut reader = Reader::new(&bytes);
        assert_eq!((reader.u32(), reader.u64(), reader.blob()), (7, 1 << 40, &b"\0\x01"[..]));
        assert_eq!(reader.text().to_bytes(), "päth".as_bytes());
        assert_eq!(reader.u32(), 2);
        let mut inner = Reader::new(reader.blob());
        assert_eq!((inner.text().to_bytes(), inner.text().to_bytes()), (&b"one"[..], &b""[..]));
        assert!(reader.is_empty() && !reader.is_broken() && inner.is_empty());
    }

    #[test]
    fn a_short_or_unterminated_request_is_broken_not_a_panic() {
        let mut reader = Reader::new(&[3, 0, 0, 0, b'a', b'b', b'c']);
        assert_eq!(reader.text().to_bytes(), b"");
        assert!(reader.is_broken());
        let mut reader = Reader::new(&[9, 0, 0, 0, 1]);
        assert_eq!(reader.blob(), b"");
        assert!(reader.is_broken() && reader.is_empty());
    }
}
