//! The drawings are compared with the summaries, which are compared with PyTorch, and with the
//! figures of the papers.

use burn::tensor::Device;
use models::{Architecture, ConvNet, Preset, summary::Summary};

use super::*;

fn summary(network: Architecture, preset: Preset) -> Summary {
    let config = network.config(preset).unwrap();
    config.init(&Device::flex()).summary(network.image(preset).unwrap()).unwrap()
}

/// The rows of the column as text.
fn column(network: Architecture, preset: Preset) -> Vec<String> {
    let graph = Graph::new(&summary(network, preset));
    let rows = rows(&graph, &opened(&graph)).into_iter();
    rows.map(|row| {
        let times = if row.times > 1 { format!(" × {}", row.times) } else { String::new() };
        format!("{}{times}: {}", row.name, shape(&row.output))
    })
    .collect()
}

#[test]
fn the_column_has_every_parameter_and_the_logits() {
    for network in Architecture::ALL {
        for preset in network.presets() {
            let summary = summary(network, preset);
            let graph = Graph::new(&summary);
            let rows = rows(&graph, &opened(&graph));
            let parameters: usize = rows.iter().map(|row| row.parameters).sum();
            assert_eq!(parameters, summary.parameters(), "{network} {preset}");
            let logits = &summary.layers.last().unwrap().output;
            assert_eq!(&rows.last().unwrap().output, logits, "{network} {preset}");
        }
    }
}

/// He et al., table 1, and Dive into Deep Learning: the first block of stages two to four has a
/// convolution in its shortcut.
#[test]
fn resnet_18_has_the_stages_of_the_paper() {
    let expected = [
        "conv 7 × 7, 64, stride 2: 64 × 48 × 48",
        "max pool 3 × 3, stride 2: 64 × 24 × 24",
        "Residual block A × 2: 64 × 24 × 24",
        "Residual block B: 128 × 12 × 12",
        "Residual block A: 128 × 12 × 12",
        "Residual block B: 256 × 6 × 6",
        "Residual block A: 256 × 6 × 6",
        "Residual block B: 512 × 3 × 3",
        "Residual block A: 512 × 3 × 3",
        "global average pool: 512 × 1 × 1",
        "fully connected, 10: 10",
    ];
    assert_eq!(column(Architecture::ResNet18, Preset::D2l), expected);
}

/// Huang et al., table 1: blocks of 6, 12, 24 and 16 layers with a transition between them.
#[test]
fn densenet_121_has_the_blocks_of_the_paper() {
    let graph = Graph::new(&summary(Architecture::DenseNet121, Preset::Imagenet));
    let rows = rows(&graph, &opened(&graph));
    let blocks = rows.iter().filter(|row| row.name == "Dense block");
    let notes: Vec<_> = blocks.map(|row| &row.note[..]).collect();
    assert_eq!(
        notes,
        ["6 × dense layer", "12 × dense layer", "24 × dense layer", "16 × dense layer"]
    );
    assert_eq!(rows.iter().filter(|row| row.name == "Transition").count(), 3);
}

/// Szegedy et al., figure 2b: four branches side by side, the first of one convolution.
#[test]
fn an_inception_block_has_four_branches() {
    let graph = Graph::new(&summary(Architecture::GoogLeNet, Preset::D2l));
    let opened = opened(&graph);
    let [inception] = &opened[..] else { panic!("one kind of block") };
    let nodes = &graph.nodes[inception.block.nodes.clone()];
    let names: Vec<_> = nodes.iter().map(|node| &node.name[..]).collect();
    assert_eq!(
        names,
        [
            "conv 1 × 1",
            "conv 1 × 1",
            "conv 3 × 3",
            "conv 1 × 1",
            "conv 5 × 5",
            "max pool 3 × 3",
            "conv 1 × 1",
            "concatenate"
        ]
    );
    assert_eq!(nodes.last().unwrap().inputs.len(), 4);
}

#[test]
fn drawings_are_xml_and_no_text_is_wider_than_its_box() {
    for network in Architecture::ALL {
        for preset in network.presets() {
            let drawing = diagram("a < b & c", &summary(network, preset));
            let document = roxmltree::Document::parse(&drawing).unwrap();
            let texts = document.descendants().filter(|it| it.has_tag_name("text"));
            let mut count = 0;
            for text in texts {
                count += 1;
                let letters = text.text().unwrap().chars().count() as i32;
                // A letter is about six pixels wide; boxes have at least 80, a row has 230.
                let small = text.attribute("class").unwrap().contains("small");
                let most = if small { 15 } else { 62 };
                assert!(letters <= most, "{network} {preset}: {:?}", text.text());
            }
            assert!(count > 20, "{network} {preset}");
        }
    }
}
