//! A network drawn from its summary, as an SVG: a column of layers and blocks, each with the shape
//! of its output and its parameters, and below it the first block of each kind, opened.
//!
//! `graph` makes boxes of layers, `block` arranges the boxes of a block, `canvas` draws.

mod block;
mod canvas;
mod graph;
#[cfg(test)]
mod tests;

use models::summary::Summary;

use self::{
    block::draw_block,
    canvas::{Canvas, Row, shape},
    graph::{Block, Graph, Item, Kind, Node},
};
use crate::format::{capitalized, grouped, rounded};

/// Draws a network. Its colors follow the reader's light or dark theme.
pub fn diagram(title: &str, summary: &Summary) -> String {
    let graph = Graph::new(summary);
    let panels = panels(&graph);
    let mut canvas = Canvas::new();
    canvas.heading(title);
    let millions = summary.macs() as f64 / 1e6;
    let millions = if millions < 10.0 { format!("{millions:.2}") } else { rounded(millions) };
    let parameters = grouped(summary.parameters());
    canvas.note(&format!("{parameters} parameters, {millions} million multiply-adds"));
    canvas.column(&summary.input);
    for row in rows(&graph, &panels) {
        canvas.row(&row);
    }
    for Panel { label, block, count, .. } in &panels {
        let (from, to) = (graph.input(block, &summary.input), graph.output(block));
        let first = if *count > 1 { ", the first" } else { "" };
        let heading = format!("{}{first}", capitalized(label));
        canvas.panel(&heading, &format!("{} to {}", shape(from), shape(to)));
        draw_block(&mut canvas, &graph, block);
    }
    canvas.finish(title)
}

/// A kind of block, to be drawn once.
struct Panel {
    name: &'static str,
    structure: String,
    /// The name, and what distinguishes the kind from others of this name.
    label: String,
    /// The first block of the kind.
    block: Block,
    /// How many blocks are of the kind.
    count: usize,
}

/// The kinds of blocks of a network.
fn panels(graph: &Graph) -> Vec<Panel> {
    let mut panels: Vec<Panel> = Vec::new();
    for item in &graph.items {
        let Item::Block(block) = item else { continue };
        let (block, count) = block.repeated(graph);
        let structure = graph.structure(block);
        match panels.iter_mut().find(|it| it.name == block.name && it.structure == structure) {
            Some(panel) => panel.count += count,
            None => {
                let (name, label, block) = (block.name, block.name.to_owned(), block.clone());
                panels.push(Panel { name, structure, label, block, count });
            }
        }
    }
    let names: Vec<_> = panels.iter().map(|it| it.name).collect();
    for (index, panel) in panels.iter_mut().enumerate() {
        let alike = |names: &[&str]| names.iter().filter(|name| **name == panel.name).count();
        if alike(&names) > 1 {
            let number = alike(&names[..index]).min(25) as u8;
            panel.label += &match has_projection(graph, &panel.block) {
                Some(true) => ", projection".to_owned(),
                Some(false) => ", identity".to_owned(),
                None => format!(" {}", char::from(b'A' + number)),
            };
        }
    }
    panels
}

/// Whether the shortcut of a residual block has a convolution; `None` for another block.
fn has_projection(graph: &Graph, block: &Block) -> Option<bool> {
    let sum = graph.nodes[block.nodes.clone()].iter().find(|node| node.kind == Kind::Add)?;
    Some(block.inside(sum.inputs[1]).is_some())
}

/// The rows of the column: neighboring blocks that differ in nothing are one row.
fn rows(graph: &Graph, panels: &[Panel]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for item in &graph.items {
        let row = match item {
            Item::Node(index) => Row::of_node(&graph.nodes[*index]),
            Item::Block(block) => {
                let (inner, times) = block.repeated(graph);
                let structure = graph.structure(inner);
                let panel = panels
                    .iter()
                    .find(|it| it.name == inner.name && it.structure == structure)
                    .expect("every kind of block has a panel");
                let (name, note) = if times > 1 {
                    (block.name.to_owned(), format!("{times} × {}", inner.name))
                } else {
                    (panel.label.clone(), contents(graph, inner))
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

/// The layers of a block in a line, without those of a shortcut; or how many branches it has.
fn contents(graph: &Graph, block: &Block) -> String {
    let nodes = &graph.nodes[block.nodes.clone()];
    if let Some(Node { kind: Kind::Concatenate, inputs, .. }) = nodes.last() {
        return format!("{} branches", inputs.len());
    }
    let is_shortcut = |index: usize| {
        let mut sums = nodes.iter().filter(|node| node.kind == Kind::Add);
        sums.any(|sum| block.inside(sum.inputs[1]) == Some(index))
    };
    let mut layers: Vec<(&Node, usize)> = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        if !matches!(node.kind, Kind::Convolution | Kind::Pool) || is_shortcut(index) {
            continue;
        }
        match layers.last_mut() {
            Some((last, count)) if last.title() == node.title() => *count += 1,
            _ => layers.push((node, 1)),
        }
    }
    // A name is not repeated: `conv 1 × 1, 3 × 3`.
    let before = [None].into_iter().chain(layers.iter().map(|(node, _)| Some(&node.name)));
    let parts = layers.iter().zip(before).map(|(&(node, count), before)| match count {
        1 if before == Some(&node.name) => node.window.clone(),
        1 => node.title(),
        count => format!("{count} × {}", node.title()),
    });
    parts.collect::<Vec<_>>().join(", ")
}
