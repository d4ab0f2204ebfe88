//! The published files, and how they are verified.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{error::Fault, idx::Contents};

/// The properties of a published file.
#[cfg_attr(not(feature = "download"), allow(dead_code, reason = "only a download is packed"))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    /// Without `.gz`.
    pub(super) name: &'static str,
    pub(super) contents: Contents,
    /// Number of images or labels.
    pub(super) count: u32,
    /// SHA-256 of the file unpacked. Packed and unpacked files are verified by it, so that a file
    /// may be packed again.
    pub(super) sha256: &'static str,
    /// SHA-256 and length of the file as published and downloaded.
    pub(super) gz_sha256: &'static str,
    pub(super) gz_len: usize,
}

/// Images and labels to train on, images and labels to test on.
pub(super) const PUBLISHED: [Published; 4] = [
    Published {
        name: "train-images-idx3-ubyte",
        contents: Contents::Images,
        count: 60_000,
        sha256: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        gz_sha256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        gz_len: 26_421_880,
    },
    Published {
        name: "train-labels-idx1-ubyte",
        contents: Contents::Labels,
        count: 60_000,
        sha256: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        gz_sha256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        gz_len: 29_515,
    },
    Published {
        name: "t10k-images-idx3-ubyte",
        contents: Contents::Images,
        count: 10_000,
        sha256: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        gz_sha256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        gz_len: 4_422_102,
    },
    Published {
        name: "t10k-labels-idx1-ubyte",
        contents: Contents::Labels,
        count: 10_000,
        sha256: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        gz_sha256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        gz_len: 5_148,
    },
];

impl Published {
    pub(super) fn gz_name(&self) -> String {
        format!("{}.gz", self.name)
    }

    /// The path of the file in `dir`: the packed file if both exist.
    pub(super) fn path_in(&self, dir: &Path) -> Option<PathBuf> {
        let paths = [dir.join(self.gz_name()), dir.join(self.name)];
        paths.into_iter().find(|path| path.is_file())
    }

    /// Length of the file unpacked, in bytes.
    pub(super) fn idx_len(&self) -> usize {
        self.contents.header_len() + self.count as usize * self.contents.item_len()
    }

    /// The images or labels of the file `idx`, if it is the published one, unpacked.
    pub(super) fn items(&self, mut idx: Vec<u8>) -> Result<Vec<u8>, Fault> {
        self.verify(&idx)?;
        // In place: the images are 47 MB.
        idx.drain(..self.contents.header_len());
        Ok(idx)
    }

    /// Checks that `idx` is the published file, unpacked. The digest would suffice; the checks
    /// before it give better error messages.
    pub(super) fn verify(&self, idx: &[u8]) -> Result<(), Fault> {
        let count = self.contents.count(idx)?;
        if count != self.count {
            return Err(Fault::Count { found: count, expected: self.count });
        }
        let items = self.contents.items(idx)?;
        if are_digits(self.contents, items) {
            return Err(Fault::Digits);
        }
        let found = sha256(idx);
        if found != self.sha256 {
            return Err(Fault::Digest { found, expected: self.sha256 });
        }
        Ok(())
    }
}

/// Whether these are images or labels of MNIST: its mean pixel is 33.3 of 255, or 33.8 in the test
/// images, where Fashion-MNIST's is 72.9; its labels begin with these ten digits.
pub(super) fn are_digits(contents: Contents, items: &[u8]) -> bool {
    const TRAIN_LABELS: [u8; 10] = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4];
    const TEST_LABELS: [u8; 10] = [7, 2, 1, 0, 4, 1, 4, 9, 5, 9];
    match contents {
        Contents::Images => {
            let sum: u64 = items.iter().map(|&pixel| u64::from(pixel)).sum();
            (sum as f64 / items.len() as f64 - 33.3).abs() < 1.5
        }
        Contents::Labels => items.starts_with(&TRAIN_LABELS) || items.starts_with(&TEST_LABELS),
    }
}

/// SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
