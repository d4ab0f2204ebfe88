//! The published files, in memory.

use super::{
    Broken, RawData,
    published::{PUBLISHED, Published},
    unpack,
};
use crate::{Error, error::Fault, idx::Contents};

/// Collects the four files from memory, in any order, for a program without a file system, such as
/// a web page on which they are dropped.
#[derive(Clone, Debug, Default)]
pub struct FilesInMemory {
    /// The images or labels of each of [`PUBLISHED`].
    items: [Option<Vec<u8>>; PUBLISHED.len()],
}

impl FilesInMemory {
    /// Adds a file, packed or not. Its contents show which of the four it is: a browser may have
    /// changed its name, which only errors use. Returns the published name, without `.gz`.
    ///
    /// # Errors
    ///
    /// If it is none of the published files. The error says how it differs, as far as this is known.
    pub fn add(&mut self, name: &str, contents: &[u8]) -> Result<&'static str, Error> {
        let (index, mut items) =
            read(&PUBLISHED, contents).map_err(|broken| broken.at(name.into()))?;
        // It had room for the largest file.
        items.shrink_to_fit();
        self.items[index] = Some(items);
        Ok(PUBLISHED[index].name)
    }

    /// The names of the files that were not added yet, without `.gz`.
    pub fn missing(&self) -> Vec<&'static str> {
        let files = PUBLISHED.iter().zip(&self.items);
        files.filter(|(_, items)| items.is_none()).map(|(file, _)| file.name).collect()
    }

    /// The contents of all four files; `None` if one was not added.
    pub fn into_raw_data(self) -> Option<RawData> {
        let [train_images, train_labels, test_images, test_labels] = self.items;
        Some(RawData {
            train_images: train_images?,
            train_labels: train_labels?,
            test_images: test_images?,
            test_labels: test_labels?,
        })
    }
}

/// Which of the published files this is, and its images or labels.
fn read(published: &[Published], contents: &[u8]) -> Result<(usize, Vec<u8>), Broken> {
    let longest = published.iter().map(Published::idx_len).max().unwrap_or_default();
    let is_packed = contents.starts_with(&[0x1f, 0x8b]);
    let idx = unpack(contents, is_packed, longest)?;

    let is_labels = Contents::Labels.count(&idx).is_ok();
    let kind = if is_labels { Contents::Labels } else { Contents::Images };
    let found = kind.count(&idx).map_err(Fault::from)?;
    let of_kind = || published.iter().filter(|file| file.contents == kind);
    let same = |file: &Published| file.contents == kind && file.count == found;
    let index = published.iter().position(same).ok_or_else(|| Fault::Count {
        found,
        expected: of_kind().map(|file| file.count).max().unwrap_or_default(),
    })?;
    Ok((index, published[index].items(idx)?))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::Sample, *};

    /// A file of this length with the header of images or labels.
    fn file(magic: u8, count: u32, len: usize) -> Vec<u8> {
        let mut file = vec![0, 0, 8, magic];
        file.extend(count.to_be_bytes());
        if magic == 3 {
            file.extend([0, 0, 0, 28, 0, 0, 0, 28]);
        }
        file.resize(len, 0);
        file
    }

    #[test]
    fn a_file_that_is_none_of_the_four_says_why() {
        let message = |contents: &[u8]| {
            FilesInMemory::default().add("photo.jpg", contents).unwrap_err().to_string()
        };
        let expect = |contents: &[u8], expected: &str| {
            let message = message(contents);
            assert!(message.starts_with("photo.jpg is not"), "{message}");
            assert!(message.contains(expected), "{message}");
        };
        expect(b"\xff\xd8\xff\xe0 a photo", "not an IDX file of bytes");
        expect(b"", "ends within its header");
        expect(b"\x1f\x8b", "cut short");
        expect(&file(3, 60_000, 1000), "cut short");
        expect(&file(1, 12, 20), "claims 12 items, but the published file has 60000");
        // Images and labels of the right number, all black and all class 0.
        expect(&file(1, 10_000, 10_008), "SHA-256");
        expect(&file(3, 10_000, 7_840_016), "SHA-256");
    }

    #[test]
    fn nothing_is_complete_without_all_four() {
        let files = FilesInMemory::default();
        assert_eq!(files.missing().len(), 4);
        assert!(files.into_raw_data().is_none());
    }

    #[test]
    fn a_file_is_known_by_its_contents_packed_or_not() {
        let samples = [Sample::images(), Sample::labels()];
        let published = [0, 1].map(|index: usize| samples[index].published);
        for (index, sample) in samples.iter().enumerate() {
            let items = &sample.idx[published[index].contents.header_len()..];
            for contents in [&sample.idx, &sample.gz] {
                let Ok(found) = read(&published, contents) else { panic!("refused {index}") };
                assert_eq!(found, (index, items.to_vec()));
            }
        }
    }
}
