//! A network drawn from its summary, as an SVG: a column of layers and blocks, each with the shape
//! of its output and its parameters, and below it one block of each kind, opened.
//!
//! `graph` makes boxes of layers, `block` arranges the boxes of a block, `canvas` draws.

mod block;
mod canvas;
mod graph;
#[cfg(test)]
mod tests;

use models::summary::{Source, Summary};

use self::{
    block::draw_block,
    canvas::{Canvas, Row, shape},
    graph::{Block, Graph, Item},
};
use crate::format::{grouped, rounded};

/// Draws a network. Its colors follow the reader's light or dark theme.
pub fn diagram(title: &str, summary: &Summary) -> String {
    let graph = Graph::new(summary);
    let opened = opened(&graph);
    let mut canvas = Canvas::new();
    canvas.heading(title);
    let millions = summary.macs() as f64 / 1e6;
    let millions = if millions < 10.0 { format!("{millions:.2}") } else { rounded(millions) };
    let parameters = grouped(summary.parameters());
    canvas.note(&format!("{parameters} parameters, {millions} million multiply-adds"));
    canvas.columns(&summary.input);
    for row in rows(&graph, &opened) {
        canvas.row(&row);
    }
    for Opened { label, block, .. } in &opened {
        let (from, to) = (graph.input(block, &summary.input), graph.output(block));
        canvas.panel(label, &format!("{} to {}", shape(from), shape(to)));
        draw_block(&mut canvas, &graph, block);
    }
    canvas.finish(title)
}

/// A kind of block, and the first block of this kind.
struct Opened {
    name: &'static str,
    structure: String,
    /// The name, and a letter if several kinds have this name.
    label: String,
    block: Block,
}

/// The kinds of blocks of a network, each once.
fn opened(graph: &Graph) -> Vec<Opened> {
    let mut all: Vec<Opened> = Vec::new();
    for item in &graph.items {
        let Item::Block(block) = item else { continue };
        let (block, _) = block.opened(graph);
        let structure = graph.structure(block);
        if !all.iter().any(|it| it.name == block.name && it.structure == structure) {
            let (name, label, block) = (block.name, capitalized(block.name), block.clone());
            all.push(Opened { name, structure, label, block });
        }
    }
    let names: Vec<_> = all.iter().map(|it| it.name).collect();
    for (index, it) in all.iter_mut().enumerate() {
        let alike = |names: &[&str]| names.iter().filter(|name| **name == it.name).count();
        if alike(&names) > 1 {
            let letter = char::from(b'A' + alike(&names[..index]).min(25) as u8);
            it.label = format!("{} {letter}", it.label);
        }
    }
    all
}

/// The rows of the column: neighboring blocks of one kind and output are one row.
fn rows(graph: &Graph, opened: &[Opened]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for item in &graph.items {
        let row = match item {
            Item::Node(index) => Row::of_node(&graph.nodes[*index]),
            Item::Block(block) => {
                let (inner, times) = block.opened(graph);
                let structure = graph.structure(inner);
                let kind = opened
                    .iter()
                    .find(|it| it.name == inner.name && it.structure == structure)
                    .expect("every kind of block is opened");
                let (name, note) = if times > 1 {
                    (capitalized(block.name), format!("{times} × {}", inner.name))
                } else {
                    (kind.label.clone(), contents(graph, inner))
                };
                Row {
                    kind: None,
                    name,
                    note,
                    output: graph.output(block).to_vec(),
                    parameters: graph.parameters(block),
                    times: 1,
                }
            }
        };
        match rows.last_mut() {
            Some(last) if last.repeats(&row) => {
                last.times += 1;
                last.parameters += row.parameters;
            }
            _ => rows.push(row),
        }
    }
    rows
}

/// The layers of a block in a line: those of its longest branch if it ends in a sum.
fn contents(graph: &Graph, block: &Block) -> String {
    use graph::Kind::{Add, Convolution, Pool};
    let nodes = &graph.nodes[block.nodes.clone()];
    let is_shortcut = |index: usize| {
        let mut sums = nodes.iter().filter(|node| node.kind == Add);
        sums.any(|sum| sum.inputs[1] == Source::Layer(block.nodes.start + index))
    };
    let layers = nodes
        .iter()
        .enumerate()
        .filter(|&(index, node)| matches!(node.kind, Convolution | Pool) && !is_shortcut(index));
    let names: Vec<_> = layers.map(|(_, node)| &node.name[..]).collect();
    match names.len() {
        0..=3 => names.join(", "),
        count => format!("{count} layers"),
    }
}

fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
