//! The packing of a fleet as a picture: a tile per node, darker the fuller it is.

use std::fmt::Write;

use crate::stdx::BTreeMap;

use super::report::{Line, Report};

/// Width of the picture, its margins, and the height of a line of text, in pixels.
const WIDTH: usize = 1200;
const MARGIN: usize = 24;
const TEXT: usize = 22;
/// Largest tile, and the gap between tiles.
const TILE_MAX: usize = 40;
const GAP: usize = 2;
/// Tallest field of tiles that is aimed at.
const FIELD: usize = 760;

/// Draws the nodes of a report, grouped by datacenter and rack.
pub fn svg(report: &Report) -> String {
    let mut sites: BTreeMap<(usize, &str), Vec<&Line>> = BTreeMap::new();
    for node in &report.nodes {
        // r2 comes before r10.
        sites.entry((node.site.len(), &node.site)).or_default().push(node);
    }
    let many = sites.len() > 40;
    let tile = tile(&sites.values().map(Vec::len).collect::<Vec<_>>(), many);
    let columns = ((WIDTH - 2 * MARGIN) / (tile + GAP)).max(1);
    let mut body = String::new();
    let mut top = MARGIN + 3 * TEXT;
    let mut put = |text: std::fmt::Arguments<'_>| {
        if body.write_fmt(text).is_err() {
            unreachable!("a string takes everything");
        }
        body.push('\n');
    };
    let mut column = 0;
    for ((_, site), nodes) in &sites {
        if !many {
            put(format_args!(
                "<text x=\"{MARGIN}\" y=\"{}\" class=\"s\">{} ({} nodes)</text>",
                top + 14,
                escape(site),
                nodes.len()
            ));
            top += TEXT;
            column = 0;
        }
        let mut nodes = nodes.clone();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        for node in nodes {
            if column == columns {
                column = 0;
                top += tile + GAP;
            }
            let x = MARGIN + column * (tile + GAP);
            column += 1;
            let [cpu, memory, disk] = node.shares();
            let fill = if node.dead { "#3a3a3a".to_owned() } else { color(cpu.max(memory)) };
            put(format_args!(
                "<rect x=\"{x}\" y=\"{top}\" width=\"{tile}\" height=\"{tile}\" fill=\"{fill}\">\
                 <title>{}: {} allocations, cpu {cpu:.0} %, memory {memory:.0} %, disk {disk:.0} \
                 %{}</title></rect>",
                escape(&node.name),
                node.used.allocs,
                if node.dead { ", dead" } else { "" },
            ));
            if node.dead && tile >= 8 {
                put(format_args!(
                    "<path d=\"M{x} {top}l{tile} {tile}m0 -{tile}l-{tile} {tile}\" \
                     stroke=\"#fff\"/>"
                ));
            }
        }
        if !many {
            top += tile + GAP + 8;
        }
    }
    if many {
        top += tile + GAP;
    }
    let height = top + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\">\n\
         <style>.s{{font-size:14px;fill:#333}}.h{{font-size:18px;fill:#000}}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n{}{body}</svg>\n",
        head(report)
    )
}

/// Title and legend.
fn head(report: &Report) -> String {
    let living = report.nodes.iter().filter(|n| !n.dead);
    let allocs: i64 = living.clone().map(|n| n.used.allocs).sum();
    let mut out = format!(
        "<text x=\"{MARGIN}\" y=\"{}\" class=\"h\">{allocs} allocations on {} nodes</text>\n\
         <text x=\"{MARGIN}\" y=\"{}\" class=\"s\">cpu or memory in use, the larger of \
         both:</text>\n",
        MARGIN + 12,
        living.count(),
        MARGIN + TEXT + 16,
    );
    let mut x = MARGIN + 304;
    let y = MARGIN + TEXT + 2;
    for share in [0u32, 25, 50, 75, 100] {
        let fill = color(f64::from(share));
        out.push_str(&format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"18\" height=\"18\" fill=\"{fill}\" \
             stroke=\"#999\"/><text x=\"{}\" y=\"{}\" class=\"s\">{share} %</text>\n",
            x + 24,
            y + 14
        ));
        x += 84;
    }
    out.push_str(&format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"18\" height=\"18\" fill=\"#3a3a3a\"/>\
         <text x=\"{}\" y=\"{}\" class=\"s\">dead</text>\n",
        x + 24,
        y + 14
    ));
    out
}

/// The largest tile with which the picture stays on a screen.
fn tile(sites: &[usize], many: bool) -> usize {
    let fits = |tile: &usize| {
        let columns = ((WIDTH - 2 * MARGIN) / (tile + GAP)).max(1);
        let rows = |n: usize| n.div_ceil(columns) * (tile + GAP);
        let height: usize = match many {
            true => rows(sites.iter().sum()),
            false => sites.iter().map(|n| rows(*n) + TEXT + 8).sum(),
        };
        height <= FIELD
    };
    (3..=TILE_MAX).rev().find(fits).unwrap_or(3)
}

/// From nearly white over yellow and red to dark violet.
fn color(share: f64) -> String {
    const STOPS: [(f64, [f64; 3]); 5] = [
        (0.0, [240.0, 240.0, 240.0]),
        (25.0, [254.0, 217.0, 118.0]),
        (50.0, [253.0, 141.0, 60.0]),
        (75.0, [215.0, 48.0, 39.0]),
        (100.0, [84.0, 0.0, 60.0]),
    ];
    let share = share.clamp(0.0, 100.0);
    let above = STOPS.iter().position(|(at, _)| share <= *at).unwrap_or(STOPS.len() - 1);
    let (high, to) = STOPS[above];
    let (low, from) = STOPS[above.saturating_sub(1)];
    let part = if high > low { (share - low) / (high - low) } else { 0.0 };
    let mix = |i: usize| from[i] + (to[i] - from[i]) * part;
    format!("rgb({:.0},{:.0},{:.0})", mix(0), mix(1), mix(2))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
