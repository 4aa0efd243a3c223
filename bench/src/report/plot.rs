//! The plots. The font is compiled in, so none need be installed.

use std::path::Path;
use std::sync::Once;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;

use crate::figures::{Figure, Kind};
use crate::samples::{Samples, Series, median};

const SIZE: (u32, u32) = (960, 600);

/// Colours that remain apart for most people with a colour vision deficiency (Okabe and Ito,
/// "Color Universal Design").
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(204, 121, 167),
    RGBColor(120, 120, 120),
];

/// Draws the figure as `plot.svg` and `plot.png` in a folder.
pub(crate) fn draw(figure: &Figure, samples: &Samples, folder: &Path) -> Result<()> {
    static FONT: Once = Once::new();
    FONT.call_once(|| {
        // The only error there is: the font cannot be parsed. Then drawing fails, and says so.
        let _ = register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular());
    });
    let (svg, png) = (folder.join("plot.svg"), folder.join("plot.png"));
    on(&SVGBackend::new(&svg, SIZE).into_drawing_area(), figure, samples)?;
    on(&BitMapBackend::new(&png, SIZE).into_drawing_area(), figure, samples)
}

fn on<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    figure: &Figure,
    samples: &Samples,
) -> Result<()> {
    let drawn: Vec<&Series> =
        samples.series.iter().filter(|series| (figure.drawn)(&series.name)).collect();
    let made = match figure.kind {
        Kind::Lines => lines(area, figure, &drawn),
        Kind::Bars => bars(area, figure, &drawn),
    };
    made.and_then(|()| area.present().map_err(text))
        .map_err(|error| anyhow!("cannot draw {}: {error}", figure.name))
}

/// Errors of a backend name its type and bear no more than their text.
fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Half a power of ten of room above and below, so that a single value has an axis, too.
fn decades(values: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let logs = values.filter(|value| *value > 0.0).map(f64::log10);
    let (low, high) = logs
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), log| (log.min(low), log.max(high)));
    if low > high { -1.0..1.0 } else { (low - 0.2)..(high + 0.2) }
}

fn tick(log: f64) -> String {
    let value = 10_f64.powf(log);
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

fn lines<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    figure: &Figure,
    drawn: &[&Series],
) -> Result<(), String> {
    area.fill(&WHITE).map_err(text)?;
    let points = || drawn.iter().flat_map(|series| &series.points);
    let right = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(figure.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(45)
        .y_label_area_size(75)
        // Room for the legend beside the lines.
        .build_cartesian_2d(0.0..right * 1.4, decades(points().map(|(_, y)| *y)))
        .map_err(text)?;
    chart
        .configure_mesh()
        .x_desc(figure.x_label)
        .y_desc(figure.y_label)
        .y_label_formatter(&|log| tick(*log))
        .x_label_formatter(&|x| format!("{x:.0}"))
        .light_line_style(WHITE)
        .draw()
        .map_err(text)?;
    for (number, series) in drawn.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        let shown: Vec<(f64, f64)> =
            series.points.iter().filter(|(_, y)| *y > 0.0).map(|(x, y)| (*x, y.log10())).collect();
        // Few points are marked: a line through one of them is none.
        if shown.len() <= 40 {
            let marks = shown.iter().map(|point| Circle::new(*point, 3, colour.filled()));
            chart.draw_series(marks).map_err(text)?;
        }
        chart
            .draw_series(LineSeries::new(shown.iter().copied(), colour.stroke_width(1)))
            .map_err(text)?
            .label(&series.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK)
        .draw()
        .map_err(text)
}

#[allow(clippy::cast_precision_loss)]
fn bars<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    figure: &Figure,
    drawn: &[&Series],
) -> Result<(), String> {
    area.fill(&WHITE).map_err(text)?;
    let medians: Vec<f64> = drawn.iter().map(|series| median(&series.values())).collect();
    let range = decades(medians.iter().copied());
    // Room for each bar's name and value at its right.
    let (left, right) = (range.start, range.end + (range.end - range.start) * 0.9);
    let rows = drawn.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(figure.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(45)
        .build_cartesian_2d(left..right, 0.0..rows)
        .map_err(text)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .x_desc(figure.y_label)
        .x_label_formatter(&|log| tick(*log))
        .light_line_style(WHITE)
        .draw()
        .map_err(text)?;
    for (number, (series, value)) in drawn.iter().zip(&medians).enumerate() {
        let (top, end) = (rows - number as f64, value.log10());
        let colour = COLOURS[number % COLOURS.len()];
        let bar = Rectangle::new([(left, top - 0.15), (end, top - 0.85)], colour.filled());
        let label = format!("{}: {value:.3}", series.name);
        let font = ("sans-serif", 15).into_font();
        chart.draw_series([bar]).map_err(text)?;
        chart.draw_series([Text::new(label, (end + 0.03, top - 0.35), font)]).map_err(text)?;
    }
    Ok(())
}
