//! Builds PyTorch files that PyTorch itself would not write: a dictionary in a zip file.

/// Builds a file with a dictionary of these [keys](key) and [tensors](tensor) or dictionaries.
pub fn pickled(items: &[u8]) -> Vec<u8> {
    let pickle = [&b"\x80\x02}("[..], items, b"u."].concat();
    zip(&[("x/data.pkl", &pickle), ("x/data/0", &[0; 4])])
}

/// A key of a dictionary.
pub fn key(name: &str) -> Vec<u8> {
    [b"X", &(name.len() as u32).to_le_bytes()[..], name.as_bytes()].concat()
}

/// A tensor of this shape. The file stores only one number, which is the value of all elements.
pub fn tensor(shape: &[usize]) -> Vec<u8> {
    let int = |value: usize| [b"J", &(value as u32).to_le_bytes()[..]].concat();
    let tuple = |values: &mut dyn Iterator<Item = usize>| {
        let values: Vec<u8> = values.flat_map(int).collect();
        [b"(", &values[..], b"t"].concat()
    };
    let storage =
        [key("storage"), b"ctorch\nFloatStorage\n".to_vec(), key("0"), key("cpu"), int(1)];
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((",
        &storage.concat()[..],
        b"tQ",
        &int(0),
        &tuple(&mut shape.iter().copied()),
        &tuple(&mut shape.iter().map(|_| 0)),
        b"\x89ccollections\nOrderedDict\n)RtR",
    ]
    .concat()
}

/// Builds a zip file with uncompressed entries.
fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in entries {
        let [size, crc] = [content.len() as u32, crc32(content)].map(u32::to_le_bytes);
        let length = (name.len() as u16).to_le_bytes();
        let fields = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &crc, &size, &size, &length, &[0; 2]];
        let fields = fields.concat();
        let offset = (file.len() as u32).to_le_bytes();
        let entry = [&b"PK\x01\x02\x14\0"[..], &fields, &[0; 10], &offset, name.as_bytes()];
        directory.extend(entry.concat());
        file.extend([&b"PK\x03\x04"[..], &fields, name.as_bytes(), content].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let [size, offset] = [directory.len() as u32, file.len() as u32].map(u32::to_le_bytes);
    let end = [&b"PK\x05\x06\0\0\0\0"[..], &count, &count, &size, &offset, &[0; 2]].concat();
    [file, directory, end].concat()
}

/// The checksum used in zip files.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}
