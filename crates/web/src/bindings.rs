//! What JavaScript calls. Errors are sentences for the visitor; structures are JSON.

use fashion_mnist::FilesInMemory;
use wasm_bindgen::prelude::*;

use crate::{Data, Scores, Session, Snapshot};

/// Shows a panic in the console.
#[wasm_bindgen(start)]
fn start() {
    console_error_panic_hook::set_once();
}

/// The files of Fashion-MNIST that were dropped so far.
#[wasm_bindgen]
#[derive(Default)]
pub struct Files(FilesInMemory);

#[wasm_bindgen]
impl Files {
    /// No file yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file.
    pub fn add(&mut self, name: &str, contents: &[u8]) -> Result<(), String> {
        self.0.add(name, contents).map(|_| ()).map_err(|error| error.to_string())
    }

    /// How many of the four files are missing.
    pub fn missing(&self) -> usize {
        self.0.missing().len()
    }
}

/// The images.
#[wasm_bindgen]
pub struct Dataset(Data);

#[wasm_bindgen]
impl Dataset {
    /// Synthetic images.
    pub fn synthetic() -> Self {
        Self(Data::synthetic())
    }

    /// Fashion-MNIST, once no file is missing.
    #[wasm_bindgen(js_name = fromFiles)]
    pub fn from_files(files: Files) -> Result<Self, String> {
        Data::from_files(files.0).map(Self).ok_or_else(|| "a file is missing".to_owned())
    }

    /// Whether the images are synthetic.
    #[wasm_bindgen(js_name = isSynthetic)]
    pub fn is_synthetic(&self) -> bool {
        self.0.is_synthetic()
    }

    /// The names of the classes.
    #[wasm_bindgen(js_name = classNames)]
    pub fn class_names(&self) -> Vec<String> {
        self.0.class_names().map(ToOwned::to_owned).to_vec()
    }

    /// The pixels of a test image.
    pub fn pixels(&self, index: usize) -> Vec<u8> {
        self.0.test_image(index).0.to_vec()
    }

    /// The class of a test image.
    pub fn label(&self, index: usize) -> u8 {
        self.0.test_image(index).1
    }
}

/// A network that trains.
#[wasm_bindgen]
pub struct Trainer(Session);

#[wasm_bindgen]
impl Trainer {
    /// Creates the network of the settings, which are JSON.
    #[wasm_bindgen(constructor)]
    pub fn new(data: &Dataset, settings: &str) -> Result<Self, String> {
        let settings = serde_json::from_str(settings).map_err(|error| error.to_string())?;
        Session::new(&data.0, settings).map(Self)
    }

    /// One step; its loss and accuracy.
    pub fn step(&mut self) -> Result<Vec<f32>, String> {
        self.0.step().map(|Scores { loss, accuracy }| vec![loss, accuracy])
    }

    /// The epoch, counted from 1, and the share of its images that were used.
    pub fn epoch(&self) -> Vec<f64> {
        let (epoch, share) = self.0.epoch();
        vec![epoch as f64, share]
    }

    /// Loss and accuracy on the first images of the validation split.
    pub fn validate(&self, images: usize) -> Result<Vec<f32>, String> {
        self.0.validate(images).map(|Scores { loss, accuracy }| vec![loss, accuracy])
    }

    /// The probability of each class for an image.
    pub fn predict(&self, pixels: &[u8]) -> Result<Vec<f32>, String> {
        self.0.predict(pixels)
    }

    /// Filters, feature maps of an image, and running statistics, as JSON.
    pub fn snapshot(&self, pixels: &[u8]) -> Result<String, String> {
        let snapshot = Snapshot::new(&self.0, pixels)?;
        serde_json::to_string(&snapshot).map_err(|error| error.to_string())
    }

    /// The contents of a `.safetensors` file.
    pub fn weights(&self) -> Vec<u8> {
        self.0.weights()
    }

    /// Loads the weights of a file.
    pub fn load(&mut self, name: &str, contents: Vec<u8>) -> Result<(), String> {
        self.0.load(name, contents)
    }
}
