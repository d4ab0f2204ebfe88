//! One block, opened: branches side by side, from the top to the bottom.

use models::summary::Source;

use super::{
    canvas::{Canvas, FRAME, WIDTH, class},
    graph::{Block, Graph, Kind, Node},
};

/// The widest box, the space between branches, and the width of a shortcut without a box.
const BOX: i32 = 190;
const SPACE: i32 = 8;
const SHORTCUT: i32 = 40;

/// Between the rows of boxes.
const GAP: i32 = 24;

/// Where the boxes of a block are.
struct Places {
    /// The branch of each box, and its row.
    at: Vec<[usize; 2]>,
    branches: usize,
    rows: usize,
    /// Whether the input is also read without a box in between, at the end of the block.
    has_shortcut: bool,
}

/// Draws a block in a frame.
pub fn draw_block(canvas: &mut Canvas, graph: &Graph, block: &Block) {
    let nodes = &graph.nodes[block.nodes.clone()];
    // The box that an input comes from; `None` for the input of the block.
    let before = |source: &Source| match source {
        Source::Layer(index) if block.nodes.contains(index) => Some(index - block.nodes.start),
        _ => None,
    };
    let inputs: Vec<Vec<Option<usize>>> =
        nodes.iter().map(|node| node.inputs.iter().map(before).collect()).collect();
    let places = Places::of(nodes, &inputs);

    let inside = FRAME[1] - FRAME[0] - 2 * SPACE;
    let branches = inside - if places.has_shortcut { SHORTCUT } else { 0 };
    let lane = branches / places.branches as i32;
    let width = (lane - SPACE).min(BOX);
    let center = |branch: usize| FRAME[0] + SPACE + lane * branch as i32 + lane / 2;
    let shortcut = FRAME[1] - SPACE - SHORTCUT / 2;

    // The top and the height of each row.
    let frame = canvas.y;
    let top = frame + 16;
    let mut rows = vec![[0, 0]; places.rows];
    let mut y = top + GAP;
    for (row, place) in rows.iter_mut().enumerate() {
        let in_row = nodes.iter().zip(&places.at).filter(|(_, at)| at[1] == row);
        let height = in_row.map(|(node, _)| lines(node, width).len() as i32).max().unwrap_or(1);
        *place = [y, 12 + 15 * height];
        y += place[1] + GAP;
    }
    let bottom = y - GAP + 14;
    canvas.rect([FRAME[0], frame], [FRAME[1] - FRAME[0], bottom - frame], "frame");

    // Above the branch that the others leave, or above all of them.
    let joined = nodes.iter().any(|node| node.kind == Kind::Add) || places.has_shortcut;
    let entry = if joined { center(0) } else { WIDTH / 2 };
    canvas.text([entry, top], "label middle", "input");
    let entry = [entry, top + 6];
    for (index, node) in nodes.iter().enumerate() {
        let [branch, row] = places.at[index];
        let [y, height] = rows[row];
        let middle = y + height / 2;
        let x = center(branch);
        for (number, input) in inputs[index].iter().enumerate() {
            let (from, is_last) = match input {
                Some(input) => {
                    let [branch, row] = places.at[*input];
                    ([center(branch), rows[row][0] + rows[row][1]], false)
                }
                None => (entry, row > 0),
            };
            let from = match input {
                Some(input) if nodes[*input].kind == Kind::Add => [
                    from[0],
                    rows[places.at[*input][1]][0] + rows[places.at[*input][1]][1] / 2 + 10,
                ],
                _ => from,
            };
            // Where a line without boxes leaves its branch.
            let turn = from[1] + 8;
            let across = if is_last { shortcut } else { from[0] };
            match node.kind {
                Kind::Add if number > 0 => canvas.arrow(&[
                    from,
                    [from[0], turn],
                    [across, turn],
                    [across, middle],
                    [x + 11, middle],
                ]),
                Kind::Add => canvas.arrow(&[from, [x, middle - 11]]),
                Kind::Concatenate => {
                    canvas.arrow(&[from, [from[0], turn], [across, turn], [across, y]]);
                }
                _ => canvas.arrow(&[from, [from[0], turn], [x, turn], [x, y]]),
            }
        }
        let lines = lines(node, width);
        match node.kind {
            Kind::Add => {
                canvas.plus([x, middle]);
                canvas.text([x + 16, middle + 18], "note", &node.after);
            }
            Kind::Concatenate => {
                let left = FRAME[0] + SPACE + SPACE / 2;
                let text = format!("concatenate, {}", node.size);
                canvas.rect([left, y], [WIDTH - 2 * left, height], class(node.kind));
                canvas.text([WIDTH / 2, middle + 4], "name middle", &text);
            }
            kind => {
                canvas.rect([x - width / 2, y], [width, height], class(kind));
                let small = if width < 150 { " small" } else { "" };
                for (number, line) in lines.iter().enumerate() {
                    let style = if number == 0 { "name middle" } else { "note middle" };
                    let y = y + 18 + 15 * number as i32;
                    canvas.text([x, y], &format!("{style}{small}"), line);
                }
            }
        }
    }
    canvas.y = bottom;
}

/// The lines of text in a box of this width.
fn lines(node: &Node, width: i32) -> Vec<String> {
    let mut lines = vec![node.name.clone()];
    let after = &node.after;
    if matches!(node.kind, Kind::Add | Kind::Concatenate) {
        return lines;
    }
    if width < 150 {
        lines.push(node.size.clone());
        lines.push(after.replace("batch norm", "BN"));
    } else {
        if !node.size.is_empty() {
            lines[0] = format!("{}, {}", node.name, node.size);
        }
        lines.push(after.clone());
    }
    lines.retain(|line| !line.is_empty());
    lines
}

impl Places {
    /// Each box in the branch of the one that it continues, or in a new one, and in the row after
    /// everything that it reads.
    fn of(nodes: &[Node], inputs: &[Vec<Option<usize>>]) -> Self {
        // The boxes on the longest way to the end.
        let mut length = vec![1; nodes.len()];
        for index in (0..nodes.len()).rev() {
            for input in inputs[index].iter().flatten() {
                length[*input] = length[*input].max(length[index] + 1);
            }
        }
        // In a residual block the shortcut comes last; parallel branches keep their order.
        let adds = nodes.iter().any(|node| node.kind == Kind::Add);
        let mut at = vec![[0, 0]; nodes.len()];
        let mut branches = 0;
        let all: Vec<Option<usize>> =
            [None].into_iter().chain((0..nodes.len()).map(Some)).collect();
        for source in all {
            let reads = |&index: &usize| inputs[index].first() == Some(&source);
            let mut readers: Vec<usize> = (0..nodes.len()).filter(reads).collect();
            if adds {
                readers.sort_by_key(|&index| std::cmp::Reverse(length[index]));
            }
            for (number, &index) in readers.iter().enumerate() {
                at[index][0] = match source {
                    Some(source) if number == 0 => at[source][0],
                    _ => {
                        branches += 1;
                        branches - 1
                    }
                };
            }
        }
        let mut rows = 0;
        for index in 0..nodes.len() {
            let after = inputs[index].iter().flatten().map(|&input| at[input][1] + 1);
            at[index][1] = after.max().unwrap_or(0);
            rows = rows.max(at[index][1] + 1);
        }
        let has_shortcut = inputs.iter().any(|inputs| inputs.len() > 1 && inputs.contains(&None));
        Self { at, branches, rows, has_shortcut }
    }
}
