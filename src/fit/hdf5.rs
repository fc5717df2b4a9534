//! Writes small HDF5 files: groups of scalars and arrays, each in one piece.
//!
//! The parts of the HDF5 file format 3.0 that are needed for this: a superblock of version 2, object
//! headers of version 2, links within the header of their group, contiguous data.

/// An address that is none.
const UNDEFINED: [u8; 8] = [0xff; 8];

/// Bytes of the superblock.
const SUPERBLOCK: usize = 48;

/// Types of messages of an object header.
const DATASPACE: u8 = 1;
const LINK_INFO: u8 = 2;
const DATATYPE: u8 = 3;
const FILL_VALUE: u8 = 5;
const LINK: u8 = 6;
const LAYOUT: u8 = 8;
const GROUP_INFO: u8 = 10;

/// Where an object's header lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ObjectAddress(u64);

/// One message of an object header.
struct HeaderMessage {
    kind: u8,
    body: Vec<u8>,
}

/// A file that is written object by object, members before their group.
#[derive(Debug)]
pub(super) struct Hdf5Writer {
    bytes: Vec<u8>,
}

impl Hdf5Writer {
    /// An empty file.
    pub(super) fn new() -> Hdf5Writer {
        Hdf5Writer {
            bytes: vec![0; SUPERBLOCK],
        }
    }

    /// Appends bytes at a multiple of eight.
    fn append(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        at
    }

    fn object(&mut self, messages: &[HeaderMessage]) -> ObjectAddress {
        let mut body = Vec::new();
        for message in messages {
            body.push(message.kind);
            body.extend((message.body.len() as u16).to_le_bytes());
            body.push(0);
            body.extend(&message.body);
        }
        // Version 2; the size of the messages in four bytes.
        let mut header = b"OHDR\x02\x02".to_vec();
        header.extend((body.len() as u32).to_le_bytes());
        header.extend(body);
        header.extend(checksum(&header).to_le_bytes());
        ObjectAddress(self.append(&header))
    }

    /// A group of named members; names of at most 255 bytes.
    pub(super) fn group(&mut self, members: &[(&str, ObjectAddress)]) -> ObjectAddress {
        let info = [&[0, 0][..], &UNDEFINED, &UNDEFINED].concat();
        let mut messages = vec![
            HeaderMessage {
                kind: LINK_INFO,
                body: info,
            },
            HeaderMessage {
                kind: GROUP_INFO,
                body: vec![0, 0],
            },
        ];
        messages.extend(members.iter().map(|(name, at)| {
            let head = [1, 0, name.len() as u8];
            HeaderMessage {
                kind: LINK,
                body: [&head[..], name.as_bytes(), &at.0.to_le_bytes()].concat(),
            }
        }));
        self.object(&messages)
    }

    /// Numbers or texts of `shape`, of a type given by its message; a scalar has no shape.
    fn array(&mut self, shape: &[usize], datatype: Vec<u8>, data: &[u8]) -> ObjectAddress {
        let at = self.append(data);
        let mut space = vec![2, shape.len() as u8, 0, u8::from(!shape.is_empty())];
        space.extend(shape.iter().flat_map(|n| (*n as u64).to_le_bytes()));
        let mut layout = vec![3, 1];
        layout.extend(at.to_le_bytes());
        layout.extend((data.len() as u64).to_le_bytes());
        let message = |kind, body| HeaderMessage { kind, body };
        self.object(&[
            message(DATASPACE, space),
            message(DATATYPE, datatype),
            // Space is taken late, a fill value written if one was set.
            message(FILL_VALUE, vec![3, 0x0a]),
            message(LAYOUT, layout),
        ])
    }

    /// Numbers of single precision, in rows.
    pub(super) fn floats(&mut self, shape: &[usize], values: &[f32]) -> ObjectAddress {
        // Little endian, the leading bit of the mantissa implied, the sign in bit 31; then size, bit
        // offset and precision, place and size of exponent and mantissa, bias.
        let mut datatype = vec![0x11, 0x20, 31, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23];
        datatype.extend(127u32.to_le_bytes());
        let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.array(shape, datatype, &data)
    }

    /// Whole numbers.
    pub(super) fn integers(&mut self, values: &[i64]) -> ObjectAddress {
        let datatype = vec![0x10, 0x08, 0, 0, 8, 0, 0, 0, 0, 0, 64, 0];
        let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.array(&[values.len()], datatype, &data)
    }

    /// A text.
    pub(super) fn text(&mut self, text: &str) -> ObjectAddress {
        self.array(&[], text_type(text.len()), text.as_bytes())
    }

    /// Texts of `shape`, in rows.
    pub(super) fn texts(&mut self, shape: &[usize], texts: &[&str]) -> ObjectAddress {
        let width = texts
            .iter()
            .map(|text| text.len())
            .max()
            .unwrap_or(0)
            .max(1);
        let mut data = Vec::new();
        for text in texts {
            data.extend_from_slice(text.as_bytes());
            data.resize(data.len() + width - text.len(), 0);
        }
        self.array(shape, text_type(width), &data)
    }

    /// The whole file.
    pub(super) fn finish(mut self, root: ObjectAddress) -> Vec<u8> {
        // Version 2, addresses and lengths of eight bytes.
        let mut head = b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00".to_vec();
        head.extend(0u64.to_le_bytes());
        head.extend(UNDEFINED);
        head.extend((self.bytes.len() as u64).to_le_bytes());
        head.extend(root.0.to_le_bytes());
        head.extend(checksum(&head).to_le_bytes());
        self.bytes[..SUPERBLOCK].copy_from_slice(&head);
        self.bytes
    }
}

/// The type of a text of `size` bytes, filled up with zeros.
fn text_type(size: usize) -> Vec<u8> {
    let mut datatype = vec![0x13, 1, 0, 0];
    datatype.extend((size as u32).to_le_bytes());
    datatype
}

/// Bob Jenkins' lookup3 of some bytes, which HDF5 takes as its checksum.
fn checksum(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let (mut a, mut b, mut c) = (start, start, start);
    let blocks = bytes.len().div_ceil(12);
    for (i, block) in bytes.chunks(12).enumerate() {
        let mut whole = [0u8; 12];
        whole[..block.len()].copy_from_slice(block);
        let word = |at: usize| {
            whole[at..at + 4]
                .iter()
                .rev()
                .fold(0u32, |word, byte| word << 8 | u32::from(*byte))
        };
        a = a.wrapping_add(word(0));
        b = b.wrapping_add(word(4));
        c = c.wrapping_add(word(8));
        if i + 1 < blocks {
            for (left, turn) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
                // Each of a, b and c in turn: x -= z; x ^= rot(z); z += y.
                let (x, y, z) = match left % 3 {
                    0 => (&mut a, b, &mut c),
                    1 => (&mut b, c, &mut a),
                    _ => (&mut c, a, &mut b),
                };
                *x = x.wrapping_sub(*z) ^ z.rotate_left(turn);
                *z = z.wrapping_add(y);
            }
        } else {
            for (left, turn) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
                let (x, y) = match left % 3 {
                    0 => (&mut c, b),
                    1 => (&mut a, c),
                    _ => (&mut b, a),
                };
                *x = (*x ^ y).wrapping_sub(y.rotate_left(turn));
            }
        }
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_its_author() {
        // From the self-test of lookup3.c.
        assert_eq!(checksum(b""), 0xdead_beef);
        assert_eq!(checksum(b"Four score and seven years ago"), 0x1777_0551);
    }
}
