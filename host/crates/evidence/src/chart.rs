//! Charts as SVG: rectangles, lines and words, without a library.
//!
//! Three charts need two hundred lines; the smallest plotting library needs five crates. Every word is escaped: names come from other people's files.

use std::fmt::Write as _;

use crate::classes::Confusion;

/// Width and height of charts of points, in pixels.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;

/// Space around the plot, in pixels: left, top, right, bottom.
const MARGINS: [f64; 4] = [70.0, 40.0, 170.0, 50.0];

/// Colours that people with the usual colour blindnesses tell apart (Okabe and Ito).
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// Maximum classes that a matrix shows with words.
const NAMED_MAX: usize = 40;

/// A line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    pub name: String,
    /// Points; those that are no numbers are left out.
    pub points: Vec<(f64, f64)>,
}

/// A point with its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub name: String,
    pub x: f64,
    pub y: f64,
    /// Whether it is filled. Candidates that a gate refused are not.
    pub filled: bool,
}

/// Curves, such as losses by epoch.
pub fn curves(title: &str, x: &str, y: &str, series: &[Series]) -> String {
    let points = || series.iter().flat_map(|series| &series.points).copied();
    let frame = Frame::around(points());
    let mut svg = frame.open(title, x, y);
    for (series, colour) in series.iter().zip(COLOURS.iter().cycle()) {
        let finite = series.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        let path: Vec<String> = finite
            .map(|point| frame.place(*point))
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>",
            path.join(" ")
        );
    }
    let names = series.iter().map(|series| series.name.as_str());
    legend(&mut svg, names.zip(COLOURS.iter().copied().cycle()));
    svg + "</svg>\n"
}

/// Points with names, such as candidates by size and time.
pub fn scatter(title: &str, x: &str, y: &str, marks: &[Mark]) -> String {
    let zero = [(0.0, 0.0)];
    let frame = Frame::around(marks.iter().map(|mark| (mark.x, mark.y)).chain(zero));
    let mut svg = frame.open(title, x, y);
    let finite = marks.iter().filter(|mark| mark.x.is_finite() && mark.y.is_finite());
    for (mark, colour) in finite.zip(COLOURS.iter().cycle()) {
        let (x, y) = frame.place((mark.x, mark.y));
        let fill = if mark.filled { colour } else { "#ffffff" };
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 9.0,
            y + 4.0,
            escaped(&mark.name)
        );
    }
    svg + "</svg>\n"
}

/// A confusion matrix: true classes downwards, predicted ones to the right, shaded by the share of the true class.
pub fn confusion(title: &str, matrix: &Confusion) -> String {
    let classes = matrix.names().len();
    let is_named = classes <= NAMED_MAX;
    let cell = if is_named { 36.0 } else { (800.0 / classes as f64).max(1.0) };
    let margin = if is_named { 130.0 } else { 50.0 };
    let side = margin + cell * classes as f64 + 20.0;
    let mut svg = open(side.max(360.0), side + 20.0, title);
    let middle = margin + cell * classes as f64 / 2.0;
    let _ = writeln!(
        svg,
        "<text x=\"{middle:.1}\" y=\"40\" text-anchor=\"middle\">predicted</text>\
         <text transform=\"translate(14 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">true</text>"
    );
    for (truth, row) in matrix.counts().iter().enumerate() {
        let rows = row.iter().sum::<u64>().max(1) as f64;
        let y = margin + cell * truth as f64;
        if is_named {
            let name = escaped(&short(&matrix.names()[truth]));
            let (at, middle) = (margin - 6.0, cell / 2.0 + 4.0);
            let _ = writeln!(
                svg,
                "<text x=\"{at}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>\
                 <text transform=\"translate({:.1} {at}) rotate(-60)\">{name}</text>",
                y + middle,
                y + middle
            );
        }
        for (predicted, count) in row.iter().enumerate().filter(|(_, count)| **count > 0) {
            let share = *count as f64 / rows;
            let x = margin + cell * predicted as f64;
            let colour = if truth == predicted { "#0072b2" } else { "#d55e00" };
            let _ = write!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{cell:.1}\" height=\"{cell:.1}\" fill=\"{colour}\" \
                 fill-opacity=\"{:.3}\"/>",
                0.08 + 0.92 * share
            );
            if is_named {
                let ink = if share > 0.5 { "#ffffff" } else { "#000000" };
                let _ = write!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"{ink}\" font-size=\"11\">{count}</text>",
                    x + cell / 2.0,
                    y + cell / 2.0 + 4.0
                );
            }
            svg.push('\n');
        }
    }
    svg + "</svg>\n"
}

/// The part of a chart that shows points.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn around(points: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let range = |values: &mut dyn Iterator<Item = f64>| {
            let finite = values.filter(|value| value.is_finite());
            let (low, high) = finite
                .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
            match (low <= high, low < high) {
                (true, true) => (low, high),
                (true, false) => (low - 0.5, high + 0.5),
                (false, _) => (0.0, 1.0),
            }
        };
        let points = points.filter(|(x, y)| x.is_finite() && y.is_finite());
        let x = range(&mut points.clone().map(|(x, _)| x));
        let (low, high) = range(&mut points.map(|(_, y)| y));
        let room = (high - low) * 0.05;
        // A quantity that is never negative begins at zero.
        let low = if low >= 0.0 && low - room < 0.0 { 0.0 } else { low - room };
        Self { x, y: (low, high + room) }
    }

    fn place(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let [left, top, right, bottom] = MARGINS;
        let across = (x - self.x.0) / (self.x.1 - self.x.0);
        let up = (y - self.y.0) / (self.y.1 - self.y.0);
        (left + across * (WIDTH - left - right), HEIGHT - bottom - up * (HEIGHT - top - bottom))
    }

    /// The axes with five marks each, and their words.
    fn open(&self, title: &str, x: &str, y: &str) -> String {
        let mut svg = open(WIDTH, HEIGHT, title);
        let [left, top, right, bottom] = MARGINS;
        let (end, base) = (WIDTH - right, HEIGHT - bottom);
        for step in 0..=4 {
            let part = f64::from(step) / 4.0;
            let value = self.x.0 + part * (self.x.1 - self.x.0);
            let height = self.y.0 + part * (self.y.1 - self.y.0);
            let (across, up) = self.place((value, height));
            let _ = writeln!(
                svg,
                "<line x1=\"{left}\" y1=\"{up:.1}\" x2=\"{end}\" y2=\"{up:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <text x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                left - 8.0,
                up + 4.0,
                figure(height),
                base + 18.0,
                figure(value)
            );
        }
        let _ = writeln!(
            svg,
            "<line x1=\"{left}\" y1=\"{base}\" x2=\"{end}\" y2=\"{base}\" stroke=\"#000000\"/>\
             <line x1=\"{left}\" y1=\"{top}\" x2=\"{left}\" y2=\"{base}\" stroke=\"#000000\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            f64::midpoint(left, end),
            HEIGHT - 12.0,
            escaped(x),
            f64::midpoint(top, base),
            escaped(y)
        );
        svg
    }
}

fn open(width: f64, height: f64, title: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"14\" y=\"22\" font-size=\"15\">{title}</text>\n"
    )
}

fn legend<'n>(svg: &mut String, names: impl Iterator<Item = (&'n str, &'n str)>) {
    let left = WIDTH - MARGINS[2] + 14.0;
    for (place, (name, colour)) in names.enumerate() {
        let y = MARGINS[1] + 20.0 * place as f64;
        let _ = writeln!(
            svg,
            "<rect x=\"{left}\" y=\"{:.1}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            y + 6.0,
            left + 20.0,
            y + 12.0,
            escaped(&short(name))
        );
    }
}

/// A number in few characters.
fn figure(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.1e}")
    } else if size >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

fn short(name: &str) -> String {
    let mut chars = name.chars();
    let short: String = chars.by_ref().take(18).collect();
    if chars.next().is_some() { short + "…" } else { short }
}

/// Text as XML takes it: without control characters, which XML 1.0 forbids.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_stay_words() {
        let hostile = "<script>alert(\"a\")</script>&\u{0}\u{1b}";
        let names = [hostile.to_owned(), "b".to_owned()];
        let matrix = Confusion::new(&names, &[0, 1, 1], &[0, 0, 1]).expect("counts");
        let series = [Series { name: hostile.into(), points: vec![(0.0, f64::NAN), (1.0, 2.0)] }];
        let marks = [Mark { name: hostile.into(), x: 1.0, y: f64::INFINITY, filled: true }];
        for svg in [
            confusion(hostile, &matrix),
            curves(hostile, hostile, hostile, &series),
            scatter(hostile, hostile, hostile, &marks),
        ] {
            assert!(!svg.contains("<script") && svg.contains("&lt;script&gt;"), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
            assert!(svg.chars().all(|c| !c.is_control() || c == '\n'));
        }
    }

    #[test]
    fn points_are_where_their_values_say() {
        let svg = curves(
            "loss",
            "epoch",
            "loss",
            &[Series { name: "train".into(), points: vec![(1.0, 10.0), (2.0, 5.0), (3.0, 0.0)] }],
        );
        let points = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next());
        let points: Vec<Vec<f64>> = points
            .expect("a line")
            .split(' ')
            .map(|point| point.split(',').map(|n| n.parse().expect("a number")).collect())
            .collect();
        assert_eq!((points[0][0], points[1][0], points[2][0]), (70.0, 310.0, 550.0));
        // Larger values are higher; the axis begins at zero.
        assert!(points[0][1] < points[1][1] && points[1][1] < points[2][1]);
        assert_eq!(points[2][1], HEIGHT - MARGINS[3]);
    }

    #[test]
    fn a_matrix_shows_each_count_and_large_ones_no_words() {
        let names = ["a", "b"].map(String::from);
        let matrix = Confusion::new(&names, &[0, 1, 1], &[0, 0, 1]).expect("counts");
        let svg = confusion("m", &matrix);
        assert_eq!(svg.matches("<rect x=").count(), 3, "empty cells are left out");
        let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let classes: Vec<u32> = (0..100).collect();
        let matrix = Confusion::new(&names, &classes, &classes).expect("counts");
        let svg = confusion("m", &matrix);
        assert_eq!((svg.matches("<rect x=").count(), svg.matches("<text").count()), (100, 3));
    }

    #[test]
    fn figures_are_short() {
        let seen = [0.0, 1.0, 0.25, 123.4, 1e-5, 1234.5, 2e7].map(figure);
        assert_eq!(seen, ["0", "1", "0.25", "123", "1.0e-5", "1234", "2.0e7"]);
    }
}
