//! The four published files: finding, downloading and verifying them.

#[cfg(feature = "download")]
mod download;
mod memory;
mod published;

use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

pub use self::memory::FilesInMemory;
use self::published::{PUBLISHED, Published};
use crate::{
    error::{DIR_VARIABLE, Error, Fault, Origin},
    idx::Contents,
};

/// The four files of Fashion-MNIST in a directory, complete but not yet verified.
///
/// They are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
/// `t10k-labels-idx1-ubyte`, each as published, with `.gz` at the end of its name, or unpacked.
/// Where both are present, the packed one is read.
#[derive(Clone, Debug)]
pub struct Files {
    dir: PathBuf,
    origin: Origin,
}

/// Pixels and labels of the data set, without the headers of their files.
#[derive(Clone, Debug)]
pub struct RawData {
    /// 60,000 images of 784 bytes: rows from the top, 0 is the background.
    pub train_images: Vec<u8>,
    /// 60,000 labels, 0 to 9.
    pub train_labels: Vec<u8>,
    /// 10,000 images of 784 bytes.
    pub test_images: Vec<u8>,
    /// 10,000 labels, 0 to 9.
    pub test_labels: Vec<u8>,
}

impl Files {
    /// Finds the files: in `dir` if it is given, else in the directory that the environment
    /// variable `FASHION_MNIST_DIR` names, else in `fashion-mnist` in the user's cache directory.
    /// Missing files are downloaded only into the last, if the feature `download` is on. If a
    /// directory was named, no other is tried.
    ///
    /// # Errors
    ///
    /// If a directory that was named does not exist or lacks a file, or a file cannot be
    /// downloaded.
    pub fn find(dir: Option<&Path>) -> Result<Self, Error> {
        let files = Self::choose(dir, env::var_os(DIR_VARIABLE), dirs::cache_dir())?;
        files.complete(&PUBLISHED)?;
        Ok(files)
    }

    /// The directory they are in.
    pub fn directory(&self) -> &Path {
        &self.dir
    }

    /// Reads all four, and verifies each by its SHA-256. A damaged file in the user's cache is
    /// reported on the standard error and downloaded again, if the feature `download` is on.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, is not the published one in a directory that was named, or cannot
    /// be downloaded again. The error says how the file differs, as far as this is known.
    pub fn read(&self) -> Result<RawData, Error> {
        #[cfg(feature = "download")]
        let read = |file: &Published| self.read_or_replace(file, download::download);
        #[cfg(not(feature = "download"))]
        let read = |file: &Published| self.read_items(file);
        let [train_images, train_labels, test_images, test_labels] = &PUBLISHED;
        Ok(RawData {
            train_images: read(train_images)?,
            train_labels: read(train_labels)?,
            test_images: read(test_images)?,
            test_labels: read(test_labels)?,
        })
    }

    /// Reads a small file of `dir` as [`read`](Self::read) does: two `images` or twelve `labels`,
    /// packed or not. For `cargo xtask fuzz`. No file has the expected SHA-256, so even a valid
    /// file is refused in the end.
    ///
    /// # Errors
    ///
    /// Always, as [`read`](Self::read).
    #[doc(hidden)]
    pub fn read_small(dir: &Path, name: &'static str) -> Result<Vec<u8>, Error> {
        let (contents, count) = match name {
            "images" => (Contents::Images, 2),
            _ => (Contents::Labels, 12),
        };
        let published =
            Published { name, contents, count, sha256: "none", gz_sha256: "none", gz_len: 0 };
        Self { dir: dir.to_owned(), origin: Origin::Argument }.read_items(&published)
    }

    fn choose(
        argument: Option<&Path>,
        variable: Option<OsString>,
        cache: Option<PathBuf>,
    ) -> Result<Self, Error> {
        if let Some(dir) = argument {
            return Ok(Self { dir: dir.to_owned(), origin: Origin::Argument });
        }
        if let Some(dir) = variable.filter(|dir| !dir.is_empty()) {
            return Ok(Self { dir: dir.into(), origin: Origin::Environment });
        }
        let cache = cache.ok_or(Error::NoDirectory)?;
        Ok(Self { dir: cache.join("fashion-mnist"), origin: Origin::Cache })
    }

    /// Ensures that all the files exist.
    fn complete(&self, published: &[Published]) -> Result<(), Error> {
        let missing: Vec<_> =
            published.iter().filter(|file| file.path_in(&self.dir).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        #[cfg(feature = "download")]
        if self.origin == Origin::Cache {
            return download::download(&missing, &self.dir);
        }
        if self.origin != Origin::Cache && !self.dir.is_dir() {
            return Err(Error::NoSuchDirectory { dir: self.dir.clone(), origin: self.origin });
        }
        Err(self.lacks(&missing))
    }

    fn lacks(&self, missing: &[&Published]) -> Error {
        Error::Missing {
            dir: self.dir.clone(),
            origin: self.origin,
            files: missing.iter().map(|file| file.name).collect(),
        }
    }

    /// As [`read_items`](Self::read_items), but replaces a damaged file in the cache, a directory
    /// that nobody chose, by a download.
    #[cfg(feature = "download")]
    fn read_or_replace(
        &self,
        published: &Published,
        download: impl FnOnce(&[&Published], &Path) -> Result<(), Error>,
    ) -> Result<Vec<u8>, Error> {
        match self.read_items(published) {
            Err(Error::Wrong { path, fault }) if self.origin == Origin::Cache => {
                eprintln!(
                    "{} is not the published Fashion-MNIST file: {fault}. Downloading it again",
                    path.display()
                );
                download(&[published], &self.dir)?;
                self.read_items(published)
            }
            read => read,
        }
    }

    /// Reads the images or labels of one file, and verifies them.
    fn read_items(&self, published: &Published) -> Result<Vec<u8>, Error> {
        let path = published.path_in(&self.dir).ok_or_else(|| self.lacks(&[published]))?;
        let is_packed = path.extension().is_some_and(|extension| extension == "gz");
        let items = File::open(&path).map_err(Broken::Unreadable).and_then(|file| {
            let idx = unpack(file, is_packed, published.idx_len())?;
            Ok(published.items(idx)?)
        });
        items.map_err(|broken| broken.at(path))
    }
}

/// Reads an IDX file, packed or not. Reads at most the expected length and one byte more, which
/// shows that the file is longer.
fn unpack(file: impl Read, is_packed: bool, expected: usize) -> Result<Vec<u8>, Broken> {
    let limit = expected + 1;
    let mut idx = Vec::with_capacity(limit);
    if is_packed {
        let gzip = GzDecoder::new(file);
        let has_header = gzip.header().is_some();
        gzip.take(limit as u64).read_to_end(&mut idx).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Broken::Wrong(Fault::TruncatedGzip),
            ErrorKind::InvalidInput if has_header => Broken::Wrong(Fault::CorruptGzip),
            ErrorKind::InvalidInput => Broken::Wrong(Fault::NotGzip),
            _ => Broken::Unreadable(error),
        })?;
    } else {
        file.take(limit as u64).read_to_end(&mut idx).map_err(Broken::Unreadable)?;
    }
    Ok(idx)
}

/// Why a file cannot be used.
enum Broken {
    Unreadable(io::Error),
    Wrong(Fault),
}

impl Broken {
    /// The error for the file at this path.
    fn at(self, path: PathBuf) -> Error {
        match self {
            Self::Unreadable(error) => Error::Read { path, error },
            Self::Wrong(fault) => Error::Wrong { path, fault },
        }
    }
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Wrong(fault)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{self, Write},
    };

    use flate2::{Compression, write::GzEncoder};
    use tempfile::TempDir;

    use super::{published::sha256, *};
    use crate::{IdxError, PIXELS};

    /// A small file with the properties that verify it, in place of a published one.
    pub struct Sample {
        pub published: Published,
        pub idx: Vec<u8>,
        pub gz: Vec<u8>,
    }

    impl Sample {
        fn new(name: &'static str, contents: Contents, header: &[u8], items: &[u8]) -> Self {
            let idx = [header, items].concat();
            let gz = gzip(&idx);
            let published = Published {
                name,
                contents,
                count: (items.len() / contents.item_len()) as u32,
                sha256: sha256(&idx).leak(),
                gz_sha256: sha256(&gz).leak(),
                gz_len: gz.len(),
            };
            Self { published, idx, gz }
        }

        /// Two images, one of them black and one gray.
        pub fn images() -> Self {
            let header = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28];
            let items = [[0; PIXELS], [150; PIXELS]].concat();
            Self::new("images", Contents::Images, &header, &items)
        }

        /// The first twelve labels of Fashion-MNIST.
        pub fn labels() -> Self {
            let header = [0, 0, 8, 1, 0, 0, 0, 12];
            let items = [9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9];
            Self::new("labels", Contents::Labels, &header, &items)
        }

        /// Reads a file with this name and these bytes.
        fn read(&self, name: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
            let dir = TempDir::new().unwrap();
            fs::write(dir.path().join(name), bytes).unwrap();
            Files { dir: dir.path().to_owned(), origin: Origin::Argument }
                .read_items(&self.published)
        }

        /// The fault found in such a file.
        fn fault(&self, name: &str, bytes: &[u8]) -> Fault {
            match self.read(name, bytes) {
                Err(Error::Wrong { path, fault }) => {
                    assert!(path.ends_with(name));
                    fault
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn flip(bytes: &[u8], index: usize) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        bytes[index] ^= 1;
        bytes
    }

    #[test]
    fn sha256_is_the_standards() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), abc);
    }

    #[test]
    fn an_argument_goes_before_the_environment_and_that_before_the_cache() {
        let choose = |argument: Option<&str>, variable: Option<&str>| {
            let cache = Some(PathBuf::from("cache"));
            let files = Files::choose(argument.map(Path::new), variable.map(OsString::from), cache);
            files.map(|files| (files.directory().to_owned(), files.origin)).unwrap()
        };
        assert_eq!(choose(Some("a"), Some("b")), ("a".into(), Origin::Argument));
        assert_eq!(choose(None, Some("b")), ("b".into(), Origin::Environment));
        assert_eq!(choose(None, Some("")), ("cache/fashion-mnist".into(), Origin::Cache));
        assert_eq!(choose(None, None), ("cache/fashion-mnist".into(), Origin::Cache));

        let error = Files::choose(None, None, None).unwrap_err();
        assert!(matches!(error, Error::NoDirectory) && error.is_unavailable());
    }

    #[test]
    fn a_directory_that_was_named_is_not_left_for_another() {
        let dir = TempDir::new().unwrap();
        let (images, labels) = (Sample::images(), Sample::labels());
        fs::write(dir.path().join("labels"), &labels.idx).unwrap();
        let published = [images.published, labels.published];

        for origin in [Origin::Argument, Origin::Environment] {
            let files = Files { dir: dir.path().to_owned(), origin };
            let error = files.complete(&published).unwrap_err();
            assert!(!error.is_unavailable());
            let message = error.to_string();
            assert!(message.contains(&origin.to_string()), "{message}");
            assert!(message.contains(dir.path().to_str().unwrap()), "{message}");
            assert!(message.contains("lacks images."), "{message}");

            let error = files.read_items(&images.published).unwrap_err();
            assert!(matches!(error, Error::Missing { .. }));

            let files = Files { dir: dir.path().join("mistyped"), origin };
            let error = files.complete(&published).unwrap_err();
            assert!(!error.is_unavailable());
            assert!(error.to_string().starts_with("there is no directory"), "{error}");
        }
        fs::write(dir.path().join("images.gz"), &images.gz).unwrap();
        Files { dir: dir.path().to_owned(), origin: Origin::Cache }.complete(&published).unwrap();
    }

    #[test]
    #[cfg(not(feature = "download"))]
    fn without_the_download_the_cache_is_to_be_filled_by_hand() {
        let dir = TempDir::new().unwrap();
        let files = Files { dir: dir.path().to_owned(), origin: Origin::Cache };
        let error = files.complete(&PUBLISHED).unwrap_err();
        assert!(error.is_unavailable());
        let message = error.to_string();
        assert!(message.contains("built without its feature `download`"), "{message}");
        assert!(message.contains("train-images-idx3-ubyte, train-labels-idx1-ubyte"), "{message}");
    }

    #[test]
    fn packed_and_unpacked_files_hold_the_same() {
        for sample in [Sample::images(), Sample::labels()] {
            let name = sample.published.name;
            let gz_name = sample.published.gz_name();
            let items = &sample.idx[sample.published.contents.header_len()..];
            assert_eq!(sample.read(name, &sample.idx).unwrap(), items);
            assert_eq!(sample.read(&gz_name, &sample.gz).unwrap(), items);

            // With another compression the file differs, the contents do not.
            let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
            encoder.write_all(&sample.idx).unwrap();
            let repacked = encoder.finish().unwrap();
            assert_ne!(sha256(&repacked), sample.published.gz_sha256);
            assert_eq!(sample.read(&gz_name, &repacked).unwrap(), items);
        }
    }

    #[test]
    fn the_packed_file_is_preferred() {
        let dir = TempDir::new().unwrap();
        let sample = Sample::labels();
        fs::write(dir.path().join("labels"), "something else").unwrap();
        fs::write(dir.path().join("labels.gz"), &sample.gz).unwrap();
        let files = Files { dir: dir.path().to_owned(), origin: Origin::Argument };
        assert_eq!(files.read_items(&sample.published).unwrap(), &sample.idx[8..]);
    }

    #[test]
    fn a_broken_gzip_file_is_called_so() {
        let images = Sample::images();
        assert_eq!(images.fault("images.gz", b"<html>404 Not Found</html>"), Fault::NotGzip);
        assert_eq!(images.fault("images.gz", &images.idx), Fault::NotGzip);
        for len in 0..images.gz.len() {
            assert_eq!(images.fault("images.gz", &images.gz[..len]), Fault::TruncatedGzip);
        }
        // The last eight bytes are the checksum and the length.
        let len = images.gz.len();
        assert_eq!(images.fault("images.gz", &flip(&images.gz, len - 8)), Fault::CorruptGzip);
        // 7 is the type of a block that does not exist.
        let mut corrupt = images.gz.clone();
        corrupt[10] = 7;
        assert_eq!(images.fault("images.gz", &corrupt), Fault::CorruptGzip);
    }

    #[test]
    fn what_can_be_known_of_a_wrong_file_is_said() {
        let (images, labels) = (Sample::images(), Sample::labels());

        let fault = images.fault("images", &labels.idx);
        let swapped = IdxError::Magic { found: 0x801, expected: 0x803 };
        assert_eq!(fault, Fault::Idx(swapped.clone()));
        assert_eq!(images.fault("images.gz", &labels.gz), Fault::Idx(swapped));
        assert_eq!(
            images.fault("images", &images.idx[..999]),
            Fault::Idx(IdxError::Truncated { count: 2, claimed: 1568, held: 983 })
        );
        assert_eq!(
            labels.fault("labels", &[&labels.idx[..], &[0]].concat()),
            Fault::Idx(IdxError::Trailing { claimed: 12 })
        );
        let mut seventeen = labels.idx.clone();
        seventeen[8] = 17;
        assert_eq!(
            labels.fault("labels", &seventeen),
            Fault::Idx(IdxError::Label { index: 0, value: 17 })
        );

        let four_billion = [&[0, 0, 8, 3], &[255; 4][..], &images.idx[8..16]].concat();
        let count = Fault::Count { found: u32::MAX, expected: 2 };
        assert_eq!(images.fault("images", &four_billion), count);

        let flipped = flip(&images.idx, 1000);
        let digest = Fault::Digest { found: sha256(&flipped), expected: images.published.sha256 };
        assert_eq!(images.fault("images", &flipped), digest);
        assert_eq!(images.fault("images.gz", &gzip(&flipped)), digest);
    }

    #[test]
    fn the_digits_of_mnist_are_recognised() {
        let labels = Sample::labels();
        for digits in [[5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]] {
            let mnist = [&labels.idx[..8], &digits, &[3, 5]].concat();
            assert_eq!(labels.fault("labels", &mnist), Fault::Digits);
            assert_eq!(labels.fault("labels.gz", &gzip(&mnist)), Fault::Digits);
        }
        let images = Sample::images();
        let mnist = [&images.idx[..16], &[0; PIXELS], &[67; PIXELS]].concat();
        assert_eq!(images.fault("images", &mnist), Fault::Digits);
    }

    #[test]
    fn no_more_is_read_than_the_file_should_hold() {
        let images = Sample::images();
        // 64 MB of zeros in 64 kB, after a valid header.
        let bomb = gzip(&[&images.idx[..16], &vec![0; 64 << 20]].concat());
        let trailing = Fault::Idx(IdxError::Trailing { claimed: 1568 });
        assert_eq!(images.fault("images.gz", &bomb), trailing);

        // A sparse file of a terabyte; reading it would take minutes.
        let dir = TempDir::new().unwrap();
        let mut file = File::create(dir.path().join("images")).unwrap();
        file.write_all(&images.idx).unwrap();
        if file.set_len(1 << 40).is_ok() {
            let files = Files { dir: dir.path().to_owned(), origin: Origin::Argument };
            let error = files.read_items(&images.published).unwrap_err();
            assert!(matches!(error, Error::Wrong { fault, .. } if fault == trailing));
        }
    }

    #[test]
    fn a_message_names_the_file_the_fault_and_the_remedy() {
        let error = Error::Wrong { path: "d/images.gz".into(), fault: Fault::TruncatedGzip };
        assert!(!error.is_unavailable());
        let message = error.to_string();
        assert!(
            message.starts_with("d/images.gz is not the published Fashion-MNIST file: the gzip")
        );
        assert!(message.contains("Replace it with the file from https://"), "{message}");
    }

    /// The one test that needs the published files.
    #[test]
    fn the_published_files_verify() {
        let Some(dir) = env::var_os(DIR_VARIABLE) else {
            // Not eprintln!, which the test runner does not show when the test passes.
            writeln!(io::stderr(), "the_published_files_verify: not run without {DIR_VARIABLE}")
                .unwrap();
            return;
        };
        // Cargo runs tests in the crate's folder; the path is relative to the workspace.
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(dir);
        let data = Files::find(Some(&dir)).unwrap().read().unwrap();
        assert_eq!(data.train_images.len(), 60_000 * PIXELS);
        assert_eq!(data.test_images.len(), 10_000 * PIXELS);
        // All classes have the same number of images.
        for (labels, count) in [(&data.train_labels, 6_000), (&data.test_labels, 1_000)] {
            for class in 0..10 {
                assert_eq!(labels.iter().filter(|&&label| label == class).count(), count);
            }
        }
        assert_eq!(data.train_labels[..10], [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]);
    }
}
