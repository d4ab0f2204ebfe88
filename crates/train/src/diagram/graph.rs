//! The layers of a summary as the boxes of a drawing.

use std::ops::Range;

use models::summary::{Layer, Source, Summary};

/// What a box is, which decides its shape and color.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Convolution,
    Pool,
    Linear,
    Norm,
    Concatenate,
    Add,
}

/// A box: a layer, with the normalization and the activation after it.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    /// Such as `conv 3 × 3`.
    pub name: String,
    /// Such as `64, stride 2`.
    pub size: String,
    /// What follows in the same box, such as `batch norm, ReLU`.
    pub after: String,
    pub output: Vec<usize>,
    pub parameters: usize,
    /// The boxes that it reads, or the image. That of an addition's residual is the second.
    pub inputs: Vec<Source>,
    block: Option<usize>,
}

/// A box or a block, in the order of the forward pass.
#[derive(Clone, Debug)]
pub enum Item {
    Node(usize),
    Block(Block),
}

/// Boxes that belong together.
#[derive(Clone, Debug)]
pub struct Block {
    pub name: &'static str,
    pub nodes: Range<usize>,
    pub items: Vec<Item>,
}

/// The boxes of a network.
#[derive(Clone, Debug)]
pub struct Graph {
    pub nodes: Vec<Node>,
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
            let inputs = layer.inputs.iter().map(|&source| match source {
                Source::Image => Source::Image,
                Source::Layer(index) => Source::Layer(boxes[index]),
            });
            let inputs: Vec<_> = inputs.collect();
            let before = match layer.inputs[..] {
                [Source::Layer(index)] => Some(index),
                _ => None,
            };
            let at = match before {
                Some(before) if graph.continues(boxes[before], layer) && readers[before] == 1 => {
                    let node = &mut graph.nodes[boxes[before]];
                    node.after = layer.kind.clone();
                    node.parameters += layer.parameters;
                    boxes[before]
                }
                // An average that changes nothing.
                Some(before)
                    if layer.kind.starts_with("average to")
                        && summary.layers[before].output == layer.output =>
                {
                    boxes[before]
                }
                _ => graph.add(Node::new(layer, inputs)),
            };
            let at = match layer.residual {
                None => at,
                Some(residual) => {
                    let residual = match residual {
                        Source::Image => Source::Image,
                        Source::Layer(index) => Source::Layer(boxes[index]),
                    };
                    graph.add(Node::sum(layer, [Source::Layer(at), residual]))
                }
            };
            if let Some(activation) = layer.activation {
                let after = &mut graph.nodes[at].after;
                if !after.is_empty() {
                    after.push_str(", ");
                }
                after.push_str(activation);
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

    /// Whether the layer belongs into the box before it: a normalization after a convolution.
    fn continues(&self, before: usize, layer: &Layer) -> bool {
        let before = &self.nodes[before];
        layer.kind == "batch norm"
            && matches!(before.kind, Kind::Convolution | Kind::Linear)
            && before.after.is_empty()
            && before.block == layer.block
    }

    /// What makes two blocks look alike: their boxes and connections, without the sizes.
    pub fn structure(&self, block: &Block) -> String {
        let nodes = block.nodes.clone().map(|index| {
            let node = &self.nodes[index];
            let inputs = node.inputs.iter().map(|source| match source {
                Source::Layer(input) if block.nodes.contains(input) => input - block.nodes.start,
                _ => usize::MAX,
            });
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
            Source::Image => image,
            Source::Layer(index) => &self.nodes[index].output,
        }
    }
}

impl Block {
    /// The block to draw: if it only repeats an inner block, that block, and how often.
    pub fn opened<'a>(&'a self, graph: &Graph) -> (&'a Self, usize) {
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
    fn new(layer: &Layer, inputs: Vec<Source>) -> Self {
        let name = match layer.kind.rsplit_once(' ') {
            Some((name, window)) => format!("{name} {}", window.replace('x', " × ")),
            None => layer.kind.clone(),
        };
        let (kind, name) = match name.split(' ').next().unwrap_or_default() {
            "conv" => (Kind::Convolution, name),
            "average" if layer.output[1..] == [1, 1] => {
                (Kind::Pool, "global average pool".to_owned())
            }
            "max" | "average" => (Kind::Pool, name),
            "linear" => (Kind::Linear, "fully connected".to_owned()),
            "concatenate" => (Kind::Concatenate, name),
            _ => (Kind::Norm, layer.kind.clone()),
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
            name,
            size,
            after: String::new(),
            output: layer.output.clone(),
            parameters: layer.parameters,
            inputs,
            block: layer.block,
        }
    }

    fn sum(layer: &Layer, inputs: [Source; 2]) -> Self {
        Self {
            kind: Kind::Add,
            name: "+".to_owned(),
            size: String::new(),
            after: String::new(),
            output: layer.output.clone(),
            parameters: 0,
            inputs: inputs.to_vec(),
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
    // The child of `parent` that the box is in.
    let child = |node: usize| {
        let mut block = nodes[node].block;
        while block != parent && block.is_some_and(|it| summary.blocks[it].parent != parent) {
            block = block.and_then(|it| summary.blocks[it].parent);
        }
        block.filter(|_| block != parent)
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
