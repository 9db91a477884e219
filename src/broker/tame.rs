//! PURE. Content headers that lapin cannot stand, made harmless in place.
//!
//! What a publisher puts beside a body reaches lapin's parser as it is, and three things there hurt more than their own
//! message: values nested thousands deep overflow the stack, which ends the process; a name that is not UTF-8, and a table
//! that does not add up, end the connection. Each would come again with every redelivery. So they are changed before
//! lapin sees them: a value nested too deep becomes the text of its bytes, a byte that fits no character becomes `?`,
//! and a table that cannot be read becomes one header of its bytes. Lengths stay, so no frame has to be written anew.

/// Deepest nesting that is kept.
const DEPTH_MAX: usize = 16;
/// Content headers of this class, `basic`, are all there are.
const BASIC: u16 = 60;
/// `deliver` and `return`: the methods that hold a publisher's routing key.
const DELIVER: u16 = 60;
const RETURN: u16 = 50;

/// What a property holds, from the highest flag down.
const PROPERTIES: [Kind; 14] = [
    Kind::Name,
    Kind::Name,
    Kind::Table,
    Kind::Bytes(1),
    Kind::Bytes(1),
    Kind::Name,
    Kind::Name,
    Kind::Name,
    Kind::Name,
    Kind::Bytes(8),
    Kind::Name,
    Kind::Name,
    Kind::Name,
    Kind::Name,
];

#[derive(Clone, Copy)]
enum Kind {
    Name,
    Table,
    Bytes(usize),
}

/// Makes the payload of a content header harmless. `None`: it ends too early, and lapin may say so.
pub(super) fn header(payload: &mut [u8]) -> Option<()> {
    let mut walk = Walk { bytes: payload, at: 0 };
    if walk.u16()? != BASIC {
        return None;
    }
    walk.skip(2 + 8)?;
    let flags = walk.u16()?;
    for (index, kind) in PROPERTIES.into_iter().enumerate() {
        if flags & (0x8000 >> index) == 0 {
            continue;
        }
        match kind {
            Kind::Name => walk.name()?,
            Kind::Bytes(count) => walk.skip(count)?,
            Kind::Table => {
                let length = walk.u32()?;
                let (start, end) = (walk.at, walk.at.checked_add(length)?);
                if end > walk.bytes.len() {
                    return None;
                }
                let mut table = Walk { bytes: walk.bytes.get_mut(..end)?, at: start };
                if table.table().is_none() {
                    one_header(walk.bytes.get_mut(start..end)?);
                }
                walk.at = end;
            }
        }
    }
    Some(())
}

/// Makes the payload of a method harmless.
pub(super) fn method(payload: &mut [u8]) -> Option<()> {
    let mut walk = Walk { bytes: payload, at: 0 };
    if walk.u16()? != BASIC {
        return None;
    }
    match walk.u16()? {
        DELIVER => {
            walk.name()?;
            walk.skip(8 + 1)?;
        }
        RETURN => {
            walk.skip(2)?;
            walk.name()?;
        }
        _ => return None,
    }
    walk.name()?;
    walk.name()
}

/// A walk over bytes that are changed where they have to be.
struct Walk<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Walk<'_> {
    /// The entries of a table, up to the end of the bytes. No recursion: what is open is where each level ends.
    fn table(&mut self) -> Option<()> {
        let mut open = vec![(self.bytes.len(), true)];
        while let Some((end, named)) = open.last().copied() {
            if self.at == end {
                open.pop();
                continue;
            }
            if named {
                self.name()?;
            }
            let kind_at = self.at;
            let length = match self.u8()? {
                b't' | b'b' | b'B' => 1,
                b's' | b'U' | b'u' => 2,
                b'I' | b'i' | b'f' => 4,
                b'L' | b'l' | b'd' | b'T' => 8,
                b'D' => 5,
                b'V' => 0,
                b'S' | b'x' => self.u32()?,
                kind @ (b'A' | b'F') => {
                    let inner = self.at.checked_add(4)?.checked_add(self.peek_u32()?)?;
                    if inner > end {
                        return None;
                    }
                    if open.len() < DEPTH_MAX {
                        self.skip(4)?;
                        open.push((inner, kind == b'F'));
                        continue;
                    }
                    *self.bytes.get_mut(kind_at)? = b'S';
                    self.u32()?
                }
                _ => return None,
            };
            self.skip(length)?;
            if self.at > end {
                return None;
            }
        }
        Some(())
    }

    /// A short text, which lapin wants to be UTF-8.
    fn name(&mut self) -> Option<()> {
        let length = usize::from(self.u8()?);
        let start = self.at;
        self.skip(length)?;
        let text = self.bytes.get_mut(start..self.at)?;
        while let Err(error) = std::str::from_utf8(text) {
            let from = error.valid_up_to();
            let count = error.error_len().unwrap_or(text.len() - from);
            text.get_mut(from..from + count)?.fill(b'?');
        }
        Some(())
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..)?.first_chunk().copied()?;
        self.at += N;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<usize> {
        usize::try_from(self.take().map(u32::from_be_bytes)?).ok()
    }

    fn peek_u32(&self) -> Option<usize> {
        let bytes = self.bytes.get(self.at..)?.first_chunk().copied()?;
        usize::try_from(u32::from_be_bytes(bytes)).ok()
    }
}

/// The same number of bytes as one header that can be read: a text if there is room for one, else a name and nothing.
fn one_header(bytes: &mut [u8]) {
    const HEAD: usize = 1 + 1 + 4;
    let length = bytes.len();
    if let Some((head, _text)) = bytes.split_at_mut_checked(HEAD) {
        let text = u32::try_from(length - HEAD).unwrap_or(0).to_be_bytes();
        head.copy_from_slice(&[0, b'S', text[0], text[1], text[2], text[3]]);
    } else if let [first, middle @ .., last] = bytes {
        *first = u8::try_from(middle.len()).unwrap_or(0);
        middle.fill(b'?');
        *last = b'V';
    }
}

#[cfg(test)]
mod tests {
    use amq_protocol::frame::{AMQPFrame, parse_frame};
    use proptest::prelude::*;

    use super::*;

    /// A frame as it is on the wire.
    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 1][..], &size, payload, &[0xce]].concat()
    }

    fn with_headers(table: &[u8]) -> Vec<u8> {
        let length = u32::try_from(table.len()).unwrap().to_be_bytes();
        [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x20, 0][..], &length, table].concat()
    }

    fn reads(payload: &[u8]) -> bool {
        let frame = frame(2, payload);
        matches!(parse_frame(frame.as_slice()), Ok((_, AMQPFrame::Header(..))))
    }

    /// `levels` tables in each other, each under an empty name.
    fn nested(levels: usize) -> Vec<u8> {
        let mut table = Vec::new();
        for _ in 0..levels {
            let length = u32::try_from(table.len()).unwrap().to_be_bytes();
            table = [&[0, b'F'][..], &length, &table].concat();
        }
        table
    }

    #[test]
    fn what_is_nested_too_deep_becomes_a_text_and_what_is_not_stays() {
        for levels in [1, DEPTH_MAX - 1] {
            let mut payload = with_headers(&nested(levels));
            let before = payload.clone();
            assert_eq!(header(&mut payload), Some(()));
            assert_eq!(payload, before, "{levels}");
        }
        for levels in [DEPTH_MAX, 3_000] {
            let mut payload = with_headers(&nested(levels));
            assert_eq!(header(&mut payload), Some(()));
            assert!(reads(&payload), "{levels}");
        }
    }

    #[test]
    fn bytes_that_fit_no_character_and_tables_that_do_not_add_up_can_be_read() {
        for table in [
            &b"\x03a\xffbV"[..],
            b"\x02\xc3\x28t\x01",
            b"\x01nZzzzzzzz",
            b"\x01nS\0\0\0\xff",
            b"\x09nV",
            b"\0\0",
        ] {
            let mut payload = with_headers(table);
            assert!(!reads(&payload), "{table:?} is harmless");
            header(&mut payload);
            assert!(reads(&payload), "{table:?} became {payload:?}");
        }
    }

    proptest! {
        #[test]
        fn any_table_can_be_read_afterwards_and_a_good_one_is_not_changed(
            table in prop_oneof![
                prop::collection::vec(any::<u8>(), 2..60),
                prop::collection::vec(prop::sample::select(b"\0\0\0\x01\x02AFSVtxn\xff".to_vec()), 2..60),
            ],
        ) {
            let mut payload = with_headers(&table);
            let (was_good, before) = (reads(&payload), payload.clone());
            prop_assert_eq!(header(&mut payload), Some(()));
            prop_assert!(reads(&payload), "{:?}", payload);
            prop_assert!(!was_good || payload == before);
        }

        #[test]
        fn any_bytes_are_walked_without_a_panic(mut payload in prop::collection::vec(any::<u8>(), 0..40), method_too in any::<bool>()) {
            let length = payload.len();
            payload.splice(0..0, [0, 60]);
            _ = if method_too { method(&mut payload) } else { header(&mut payload) };
            prop_assert_eq!(payload.len(), length + 2);
        }
    }
}
