//! The layers of a summary as the boxes of a drawing.

use std::{iter::successors, ops::Range};

use models::summary::{Layer, LayerKind, Source, Summary};

/// What a box is, which decides its shape and color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Convolution,
    Pool,
    Linear,
    Norm,
    Concatenate,
    /// The sum of a residual block.
    Add,
}

/// A box: a layer, with the normalization and the activation after it.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    /// Such as `conv`.
    pub name: String,
    /// Such as `3 × 3`.
    pub window: String,
    /// Such as `64, stride 2`.
    pub size: String,
    /// What follows in the same box, such as `batch norm, ReLU`.
    pub after: String,
    /// The shape of the output.
    pub output: Vec<usize>,
    pub parameters: usize,
    /// The boxes that it reads; `None` is the image. That of a sum's residual is the second.
    pub inputs: Vec<Option<usize>>,
    block: Option<usize>,
}

/// A box or a block, in the order of the forward pass.
#[derive(Clone, Debug)]
pub enum Item {
    /// An index of a box.
    Node(usize),
    Block(Block),
}

/// Boxes that belong together.
#[derive(Clone, Debug)]
pub struct Block {
    /// The block's name in the paper.
    pub name: &'static str,
    /// The indices of its boxes.
    pub nodes: Range<usize>,
    /// The same boxes, in blocks where there are inner ones.
    pub items: Vec<Item>,
}

/// The boxes of a network.
#[derive(Clone, Debug)]
pub struct Graph {
    pub nodes: Vec<Node>,
    /// All boxes, in blocks where there are some.
    pub items: Vec<Item>,
}

impl Graph {
    /// The boxes of a summary.
    pub fn new(summary: &Summary) -> Self {
        let mut graph = Self { nodes: Vec::new(), items: Vec::new() };
        let mut readers = vec![0; summary.layers.len()];
        for layer in &summary.layers {
            for source in layer.inputs.iter().chain(&layer.residual) {
                if let Source::Layer(index) = source {
                    readers[*index] += 1;
                }
            }
        }
        // The box that each layer is part of.
        let mut boxes: Vec<usize> = Vec::new();
        for layer in &summary.layers {
            let box_of = |source: &Source| match source {
                Source::Image => None,
                Source::Layer(index) => Some(boxes[*index]),
            };
            let before = match layer.inputs[..] {
                [Source::Layer(index)] => Some(index),
                _ => None,
            };
            let residual = layer.residual.as_ref().map(box_of);
            let mut at = match before {
                Some(before) if readers[before] == 1 && graph.continues(boxes[before], layer) => {
                    let node = &mut graph.nodes[boxes[before]];
                    node.after = layer.kind.to_string();
                    node.parameters += layer.parameters;
                    boxes[before]
                }
                // An average to the size that the feature map already has is not drawn.
                Some(before)
                    if matches!(layer.kind, LayerKind::AverageTo(_))
                        && summary.layers[before].output == layer.output =>
                {
                    boxes[before]
                }
                _ => {
                    let inputs = layer.inputs.iter().map(box_of).collect();
                    graph.add(Node::new(layer, inputs))
                }
            };
            if let Some(residual) = residual {
                at = graph.add(Node::sum(layer, vec![Some(at), residual]));
            }
            if let Some(activation) = layer.activation {
                let after = &mut graph.nodes[at].after;
                let comma = if after.is_empty() { "" } else { ", " };
                *after += comma;
                *after += activation;
            }
            boxes.push(at);
        }
        graph.items = items(summary, &graph.nodes, 0..graph.nodes.len(), None);
        graph
    }

    fn add(&mut self, node: Node) -> usize {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Whether the layer belongs in the box before it: a normalization after a convolution.
    fn continues(&self, before: usize, layer: &Layer) -> bool {
        let before = &self.nodes[before];
        layer.kind == LayerKind::BatchNorm
            && matches!(before.kind, Kind::Convolution | Kind::Linear)
            && before.after.is_empty()
            && before.block == layer.block
    }

    /// What makes two blocks look alike: their boxes and connections, without the sizes.
    pub fn structure(&self, block: &Block) -> String {
        let nodes = block.nodes.clone().map(|index| {
            let node = &self.nodes[index];
            let inputs = node.inputs.iter().map(|&input| block.inside(input));
            format!("{:?} {} {:?}", node.kind, node.after, inputs.collect::<Vec<_>>())
        });
        nodes.collect::<Vec<_>>().join("; ")
    }

    /// The output of a block: that of its last box.
    pub fn output(&self, block: &Block) -> &[usize] {
        &self.nodes[block.nodes.end - 1].output
    }

    /// The parameters of a block.
    pub fn parameters(&self, block: &Block) -> usize {
        self.nodes[block.nodes.clone()].iter().map(|node| node.parameters).sum()
    }

    /// The shape that a block reads.
    pub fn input<'a>(&'a self, block: &Block, image: &'a [usize]) -> &'a [usize] {
        match self.nodes[block.nodes.start].inputs[0] {
            None => image,
            Some(index) => &self.nodes[index].output,
        }
    }
}

impl Block {
    /// The position in the block of a box; `None` for what is outside, the block's input.
    pub fn inside(&self, node: Option<usize>) -> Option<usize> {
        node.filter(|node| self.nodes.contains(node)).map(|node| node - self.nodes.start)
    }

    /// The inner block that the block repeats, and how often; the block itself, if it does not.
    pub fn repeated<'a>(&'a self, graph: &Graph) -> (&'a Self, usize) {
        if let [Item::Block(first), others @ ..] = &self.items[..] {
            let structure = graph.structure(first);
            let alike = |item: &Item| match item {
                Item::Block(block) => graph.structure(block) == structure,
                Item::Node(_) => false,
            };
            if others.iter().all(alike) {
                return (first, self.items.len());
            }
        }
        (self, 1)
    }
}

impl Node {
    /// The name with its window, such as `conv 3 × 3`.
    pub fn title(&self) -> String {
        [&self.name[..], &self.window].join(" ").trim_end().to_owned()
    }

    fn new(layer: &Layer, inputs: Vec<Option<usize>>) -> Self {
        let (kind, name, window) = match layer.kind {
            LayerKind::Convolution(window) => (Kind::Convolution, "conv", Some(window)),
            LayerKind::BatchNorm => (Kind::Norm, "batch norm", None),
            LayerKind::Linear => (Kind::Linear, "fully connected", None),
            LayerKind::MaxPool(window) => (Kind::Pool, "max pool", Some(window)),
            LayerKind::AveragePool(window) => (Kind::Pool, "average pool", Some(window)),
            LayerKind::AverageTo([1, 1]) => (Kind::Pool, "global average pool", None),
            LayerKind::AverageTo(size) => (Kind::Pool, "average to", Some(size)),
            LayerKind::Concatenate => (Kind::Concatenate, "concatenate", None),
        };
        let mut size = match kind {
            Kind::Convolution | Kind::Linear | Kind::Concatenate => layer.output[0].to_string(),
            _ => String::new(),
        };
        if layer.stride > 1 {
            let comma = if size.is_empty() { "" } else { ", " };
            size = format!("{size}{comma}stride {}", layer.stride);
        }
        Self {
            kind,
            name: name.to_owned(),
            window: window.map(|[height, width]| format!("{height} × {width}")).unwrap_or_default(),
            size,
            after: String::new(),
            output: layer.output.clone(),
            parameters: layer.parameters,
            inputs,
            block: layer.block,
        }
    }

    fn sum(layer: &Layer, inputs: Vec<Option<usize>>) -> Self {
        Self {
            kind: Kind::Add,
            name: "+".to_owned(),
            window: String::new(),
            size: String::new(),
            after: String::new(),
            output: layer.output.clone(),
            parameters: 0,
            inputs,
            block: layer.block,
        }
    }
}

/// The boxes in a range, and the blocks whose parent is this one.
fn items(
    summary: &Summary,
    nodes: &[Node],
    range: Range<usize>,
    parent: Option<usize>,
) -> Vec<Item> {
    // The child of `parent` that a box is in.
    let child = |node: usize| {
        successors(nodes[node].block, |&it| summary.blocks[it].parent)
            .find(|&it| summary.blocks[it].parent == parent)
    };
    let mut items = Vec::new();
    let mut start = range.start;
    while start < range.end {
        let block = child(start);
        let Some(index) = block else {
            items.push(Item::Node(start));
            start += 1;
            continue;
        };
        let end = (start..range.end).find(|&node| child(node) != block).unwrap_or(range.end);
        items.push(Item::Block(Block {
            name: summary.blocks[index].name,
            nodes: start..end,
            items: self::items(summary, nodes, start..end, block),
        }));
        start = end;
    }
    items
}
