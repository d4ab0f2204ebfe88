use std::fmt;

/// What an image of Fashion-MNIST shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// T-shirts and tops, label 0.
    TShirt,
    /// Trousers, label 1.
    Trouser,
    /// Pullovers, label 2.
    Pullover,
    /// Dresses, label 3.
    Dress,
    /// Coats, label 4.
    Coat,
    /// Sandals, label 5.
    Sandal,
    /// Shirts, label 6.
    Shirt,
    /// Sneakers, label 7.
    Sneaker,
    /// Bags, label 8.
    Bag,
    /// Ankle boots, label 9.
    AnkleBoot,
}

impl Class {
    /// All classes, in the order of their labels.
    pub const ALL: [Self; 10] = [
        Self::TShirt,
        Self::Trouser,
        Self::Pullover,
        Self::Dress,
        Self::Coat,
        Self::Sandal,
        Self::Shirt,
        Self::Sneaker,
        Self::Bag,
        Self::AnkleBoot,
    ];

    /// The class name of Zalando, the publisher of the data set.
    pub fn name(self) -> &'static str {
        match self {
            Self::TShirt => "T-shirt/top",
            Self::Trouser => "Trouser",
            Self::Pullover => "Pullover",
            Self::Dress => "Dress",
            Self::Coat => "Coat",
            Self::Sandal => "Sandal",
            Self::Shirt => "Shirt",
            Self::Sneaker => "Sneaker",
            Self::Bag => "Bag",
            Self::AnkleBoot => "Ankle boot",
        }
    }

    /// The class that `label` stands for in the label files; `None` above 9.
    ///
    /// ```
    /// use fashion_mnist::Class;
    ///
    /// assert_eq!(Class::from_label(8), Some(Class::Bag));
    /// assert_eq!(Class::from_label(10), None);
    /// ```
    pub fn from_label(label: u8) -> Option<Self> {
        Self::ALL.get(usize::from(label)).copied()
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A part of the data set, by its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// The images to train on.
    Train,
    /// Held out of the training images, to choose between models.
    Validation,
    /// The published test images, to report a result on.
    Test,
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table in the README of <https://github.com/zalandoresearch/fashion-mnist>.
    #[test]
    fn labels_and_names_are_zalandos() {
        let table = [
            (0, "T-shirt/top"),
            (1, "Trouser"),
            (2, "Pullover"),
            (3, "Dress"),
            (4, "Coat"),
            (5, "Sandal"),
            (6, "Shirt"),
            (7, "Sneaker"),
            (8, "Bag"),
            (9, "Ankle boot"),
        ];
        assert_eq!(Class::ALL.map(|class| (class as u8, class.name())), table);
        for (label, name) in table {
            assert_eq!(Class::from_label(label).unwrap().to_string(), name);
        }
        assert_eq!(Class::from_label(10), None);
        assert_eq!(Class::from_label(u8::MAX), None);
    }

    #[test]
    fn names_align_in_columns() {
        assert_eq!(format!("{:>6}|{:<6}|", Class::Bag, Split::Test), "   Bag|test  |");
    }
}
