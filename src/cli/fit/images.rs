//! Reads images and labels: IDX files and NumPy `.npy` arrays, as they are or as gzip.

use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::data_table::DataError;

/// Largest unpacked size of a gzip file (4 GiB): a small file can unpack to any size.
const MAX_UNPACKED: u64 = 1 << 32;

/// An array of numbers: rows of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Number of rows.
    pub rows: usize,
    /// Values of one row; 1 for labels.
    pub width: usize,
    /// Rows and columns of an image; none for other arrays.
    pub image: Option<(usize, usize)>,
    /// Values, row after row.
    pub values: Vec<f32>,
}

/// Reads an IDX or `.npy` file, gzip or not, told apart by its first bytes.
///
/// # Errors
/// If it cannot be read or is of another kind.
pub fn read(path: &Path) -> Result<Array, DataError> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| DataError::Io {
        path: shown.clone(),
        source,
    })?;
    unpacked(bytes)
        .and_then(|bytes| parse(&bytes))
        .map_err(|what| DataError::Misfit(format!("{shown}: {what}")))
}

/// The bytes inside a gzip file; those of any other file as they are.
fn unpacked(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut inner = Vec::new();
    let size = MultiGzDecoder::new(&bytes[..])
        .take(MAX_UNPACKED)
        .read_to_end(&mut inner)
        .map_err(|e| format!("gzip: {e}"))?;
    if size as u64 == MAX_UNPACKED {
        return Err(format!("gzip: {MAX_UNPACKED} bytes or more inside"));
    }
    Ok(inner)
}

fn parse(bytes: &[u8]) -> Result<Array, String> {
    match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => npy(bytes),
        [0, 0, 8, dimensions, rest @ ..] => idx(*dimensions, rest),
        _ => Err("neither IDX of bytes nor npy".into()),
    }
}

/// Array of the given shape, all but the first dimension flattened.
fn shaped(shape: &[usize], values: Vec<f32>) -> Result<Array, String> {
    let rows = shape.first().copied().unwrap_or(0);
    let width = shape
        .iter()
        .skip(1)
        .try_fold(1usize, |n, d| n.checked_mul(*d));
    let width = width.ok_or("dimensions overflow")?;
    if rows.checked_mul(width) != Some(values.len()) || values.is_empty() {
        let n = values.len();
        return Err(format!("{n} values do not fill the shape {shape:?}"));
    }
    let image = match shape {
        [_, height, across] => Some((*height, *across)),
        _ => None,
    };
    Ok(Array {
        rows,
        width,
        image,
        values,
    })
}

fn idx(dimensions: u8, rest: &[u8]) -> Result<Array, String> {
    let head = 4 * usize::from(dimensions);
    if rest.len() < head || dimensions == 0 {
        return Err("the IDX header is cut off".into());
    }
    let (sizes, data) = rest.split_at(head);
    let shape: Vec<usize> = sizes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| u32::from_be_bytes(*b) as usize)
        .collect();
    shaped(&shape, data.iter().map(|b| f32::from(*b)).collect())
}

fn npy(bytes: &[u8]) -> Result<Array, String> {
    let version = *bytes.get(6).ok_or("the npy header is cut off")?;
    let (length, at) = match (version, bytes.get(8..12)) {
        (1, Some(b)) => (usize::from(u16::from_le_bytes([b[0], b[1]])), 10),
        (2 | 3, Some(b)) => (u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize, 12),
        _ => return Err(format!("npy version {version}")),
    };
    let end = at + length;
    let header = bytes.get(at..end).ok_or("the npy header is cut off")?;
    let header = std::str::from_utf8(header).map_err(|e| e.to_string())?;
    if field(header, "'fortran_order':").is_none_or(|v| v.starts_with("True")) {
        return Err("npy in Fortran order".into());
    }
    let kind = field(header, "'descr':").ok_or("npy without descr")?;
    let kind = kind
        .trim_start_matches('\'')
        .split('\'')
        .next()
        .unwrap_or("");
    let shape = field(header, "'shape':").ok_or("npy without shape")?;
    let shape = shape
        .trim_start_matches('(')
        .split(')')
        .next()
        .unwrap_or("");
    let shape: Result<Vec<usize>, _> = shape
        .split(',')
        .map(str::trim)
        .filter(|d| !d.is_empty())
        .map(str::parse)
        .collect();
    let shape = shape.map_err(|e| format!("npy shape: {e}"))?;
    shaped(&shape, decode(kind, &bytes[end..])?)
}

fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let at = header.find(name)?;
    Some(header[at + name.len()..].trim_start())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "inputs are single precision in the network as well"
)]
fn decode(kind: &str, data: &[u8]) -> Result<Vec<f32>, String> {
    let wide = |f: fn([u8; 8]) -> f64| {
        let chunks = data.as_chunks::<8>().0.iter();
        chunks.map(|b| f(*b) as f32).collect()
    };
    let narrow = |f: fn([u8; 4]) -> f32| {
        let chunks = data.as_chunks::<4>().0.iter();
        chunks.map(|b| f(*b)).collect()
    };
    Ok(match kind {
        "|u1" | "|b1" => data.iter().map(|b| f32::from(*b)).collect(),
        "<f4" => narrow(f32::from_le_bytes),
        "<f8" => wide(f64::from_le_bytes),
        "<i4" => narrow(|b| i32::from_le_bytes(b) as f32),
        "<i8" => wide(|b| i64::from_le_bytes(b) as f64),
        other => return Err(format!("npy of kind '{other}'")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idx_images_and_labels_are_read() {
        let bytes = [
            &[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2][..],
            &[1, 2, 3, 255],
        ]
        .concat();
        let array = parse(&bytes).unwrap();
        assert_eq!((array.rows, array.width), (2, 2));
        assert_eq!(array.values, [1.0, 2.0, 3.0, 255.0]);
        let labels = [0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9];
        assert_eq!(parse(&labels).unwrap().values, [7.0, 8.0, 9.0]);
    }

    #[test]
    fn gzip_is_unpacked_and_damage_is_noticed() {
        let labels = [0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9];
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packer, &labels).unwrap();
        let mut packed = packer.finish().unwrap();
        assert_eq!(unpacked(packed.clone()).unwrap(), labels);
        assert_eq!(unpacked(labels.to_vec()).unwrap(), labels);
        assert!(unpacked(packed[..packed.len() - 3].to_vec()).is_err());
        let last = packed.len() - 6;
        packed[last] ^= 1;
        assert!(unpacked(packed).unwrap_err().starts_with("gzip"));
    }

    #[test]
    fn npy_arrays_are_read() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }      \n";
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(1.5f32.to_le_bytes());
        bytes.extend((-2.0f32).to_le_bytes());
        let array = parse(&bytes).unwrap();
        assert_eq!((array.rows, array.width), (1, 2));
        assert_eq!(array.values, [1.5, -2.0]);
        bytes.pop();
        assert!(parse(&bytes).is_err());
    }

    #[test]
    fn other_files_are_refused_in_words() {
        assert!(parse(b"P5 28 28").is_err());
        assert!(parse(&[0, 0, 8, 3, 0]).is_err());
        assert!(parse(b"\x93NUMPY\x01\x00\xff\xff").is_err());
        assert!(parse(b"\x93NUMPY").is_err());
    }
}
