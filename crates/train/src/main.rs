//! Trains a convolutional network on Fashion-MNIST; see the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    train::cli::run()
}
