//! The drawings are compared with the summaries, which are compared with PyTorch, and with the
//! figures of the papers.

use burn::tensor::Device;
use models::{Architecture, ConvNet, Preset, summary::Summary};
use roxmltree::Node as Element;

use super::{block::places, *};

fn summary(network: Architecture, preset: Preset) -> Summary {
    let config = network.config(preset).unwrap();
    config.init(&Device::flex()).summary(network.image(preset).unwrap()).unwrap()
}

fn all() -> impl Iterator<Item = (Architecture, Preset)> {
    let all = Architecture::ALL.into_iter();
    all.flat_map(|network| network.presets().map(move |preset| (network, preset)))
}

/// The rows of the column as text.
fn column(network: Architecture, preset: Preset) -> Vec<String> {
    let graph = Graph::new(&summary(network, preset));
    let rows = rows(&graph, &panels(&graph)).into_iter();
    rows.map(|row| {
        let times = if row.times > 1 { format!("{} × ", row.times) } else { String::new() };
        format!("{times}{}: {}", row.name, shape(&row.output))
    })
    .collect()
}

#[test]
fn the_column_has_every_parameter_and_the_logits() {
    for (network, preset) in all() {
        let summary = summary(network, preset);
        let graph = Graph::new(&summary);
        let rows = rows(&graph, &panels(&graph));
        let parameters: usize = rows.iter().map(|row| row.parameters).sum();
        assert_eq!(parameters, summary.parameters(), "{network} {preset}");
        let logits = &summary.layers.last().unwrap().output;
        assert_eq!(rows.last().unwrap().output[0], logits[0], "{network} {preset}");
    }
}

/// He et al., table 1, and Dive into Deep Learning: the first block of stages two to four has a
/// convolution in its shortcut.
#[test]
fn resnet_18_has_the_stages_of_the_paper() {
    let expected = [
        "conv 7 × 7, 64, stride 2: 64 × 48 × 48",
        "max pool 3 × 3, stride 2: 64 × 24 × 24",
        "2 × residual block, identity: 64 × 24 × 24",
        "residual block, projection: 128 × 12 × 12",
        "residual block, identity: 128 × 12 × 12",
        "residual block, projection: 256 × 6 × 6",
        "residual block, identity: 256 × 6 × 6",
        "residual block, projection: 512 × 3 × 3",
        "residual block, identity: 512 × 3 × 3",
        "global average pool: 512 × 1 × 1",
        "fully connected, 10: 10",
    ];
    assert_eq!(column(Architecture::ResNet18, Preset::D2l), expected);
}

/// Szegedy et al., table 1: nine blocks, which all differ.
#[test]
fn googlenet_has_the_blocks_of_the_paper() {
    let rows = column(Architecture::GoogLeNet, Preset::D2l);
    let blocks: Vec<_> = rows.iter().filter(|row| row.contains("inception")).collect();
    let channels = [256, 480, 512, 512, 512, 528, 832, 832, 1024];
    let sides = [12, 12, 6, 6, 6, 6, 6, 3, 3];
    let expected = channels.into_iter().zip(sides);
    let expected: Vec<_> = expected
        .map(|(channels, side)| format!("inception block: {channels} × {side} × {side}"))
        .collect();
    assert_eq!(blocks, expected.iter().collect::<Vec<_>>());
}

/// Huang et al., table 1: blocks of 6, 12, 24 and 16 layers with a transition between them.
#[test]
fn densenet_121_has_the_blocks_of_the_paper() {
    let graph = Graph::new(&summary(Architecture::DenseNet121, Preset::Imagenet));
    let rows = rows(&graph, &panels(&graph));
    let blocks = rows.iter().filter(|row| row.name == "dense block");
    let notes: Vec<_> = blocks.map(|row| &row.note[..]).collect();
    assert_eq!(
        notes,
        ["6 × dense layer", "12 × dense layer", "24 × dense layer", "16 × dense layer"]
    );
    assert_eq!(rows.iter().filter(|row| row.name == "transition").count(), 3);
}

/// Szegedy et al., figure 2b: four branches side by side. He et al., figure 2: the shortcut beside
/// the convolutions.
#[test]
fn branches_are_side_by_side() {
    let panel = |network, name: &str| {
        let graph = Graph::new(&summary(network, Preset::D2l));
        let panel = panels(&graph).into_iter().find(|panel| panel.label == name).unwrap();
        let nodes = graph.nodes[panel.block.nodes.clone()].iter();
        let titles: Vec<_> = nodes.map(Node::title).collect();
        let places = places(&graph, &panel.block);
        (titles, places.at, places.has_shortcut)
    };
    let (titles, at, has_shortcut) = panel(Architecture::GoogLeNet, "inception block");
    let convolution = |side: usize| format!("conv {side} × {side}");
    let [one, three, five] = [1, 3, 5].map(convolution);
    let [one, three, five] = [&one[..], &three[..], &five[..]];
    assert_eq!(titles, [one, one, three, one, five, "max pool 3 × 3", one, "concatenate"]);
    assert_eq!(at[..7], [[0, 0], [1, 0], [1, 1], [2, 0], [2, 1], [3, 0], [3, 1]]);
    assert!(at[7][1] == 2 && !has_shortcut);

    let (titles, at, has_shortcut) = panel(Architecture::ResNet18, "residual block, projection");
    assert_eq!(titles, [one, three, three, "+"]);
    assert_eq!(at, [[1, 0], [0, 0], [0, 1], [0, 2]]);
    assert!(!has_shortcut);
    let (_, at, has_shortcut) = panel(Architecture::ResNet18, "residual block, identity");
    assert_eq!(at, [[0, 0], [0, 1], [0, 2]]);
    assert!(has_shortcut);
}

/// The boxes of a drawing: left, top, right, bottom.
fn boxes(document: &Element) -> Vec<[i32; 4]> {
    let rects = document.descendants().filter(|it| {
        it.has_tag_name("rect") && !["frame", "paper"].contains(&it.attribute("class").unwrap())
    });
    rects
        .map(|it| {
            let [x, y, width, height] = ["x", "y", "width", "height"]
                .map(|name| it.attribute(name).unwrap().parse::<i32>().unwrap());
            [x, y, x + width, y + height]
        })
        .collect()
}

/// With seven pixels for a letter, as in a wide font.
#[test]
fn drawings_are_xml_and_their_texts_fit() {
    for (network, preset) in all() {
        let drawing = diagram("a < b & c", &summary(network, preset));
        let document = roxmltree::Document::parse(&drawing).unwrap();
        let root = document.root_element();
        let boxes = boxes(&root);
        let mut inside = 0;
        for text in root.descendants().filter(|it| it.has_tag_name("text")) {
            let content = text.text().expect("no empty text");
            let class = text.attribute("class").unwrap();
            let [x, y] = ["x", "y"].map(|name| text.attribute(name).unwrap().parse().unwrap());
            let letter = if class.contains("small") { 6 } else { 7 };
            let width = letter * content.chars().count() as i32;
            let [left, right] = match class {
                _ if class.contains("middle") => [x - width / 2, x + width / 2],
                _ if class.contains("end") => [x - width, x],
                _ => [x, x + width],
            };
            assert!(left >= 0 && right <= canvas::WIDTH, "{network} {preset}: {content}");
            let around =
                boxes.iter().find(|it| (it[0]..it[2]).contains(&x) && (it[1]..it[3]).contains(&y));
            if let Some(around) = around {
                inside += 1;
                assert!(
                    around[0] <= left && right <= around[2],
                    "{network} {preset}: `{content}` leaves its box"
                );
            }
        }
        assert!(inside > 8, "{network} {preset}");
        // Boxes of one row do not overlap.
        for (index, a) in boxes.iter().enumerate() {
            for b in &boxes[index + 1..] {
                let apart = a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
                // The second box behind several blocks is drawn on purpose.
                let behind = b[0] + 4 == a[0] && b[1] + 4 == a[1];
                assert!(apart || behind, "{network} {preset}: {a:?} {b:?}");
            }
        }
    }
}
