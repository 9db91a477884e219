//! `rate_limit.svg`: for each load how late records were over time, and how many requests it took.

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::measure::Row;
use super::world::Client;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

const WIDTH: u32 = 1_200;
const PANEL_HEIGHT: u32 = 260;
const KINDS: [&str; 6] = ["start", "job", "container", "list", "other read", "429"];
/// Lags below this are drawn here: the axis is logarithmic.
const LAG_SECONDS_MIN: f64 = 0.1;
/// Dots that find room beside and above each other in a panel.
const CELLS: (f64, f64) = (150.0, 60.0);

/// Draws one line of panels for each load.
pub fn draw(path: &Path, rows: &[Row]) -> Drawn {
    let loads: Vec<&[Row]> = rows.chunk_by(|one, other| one.load.name() == other.load.name()).collect();
    let height = PANEL_HEIGHT * u32::try_from(loads.len().max(1))?;
    let root = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((loads.len().max(1), 2));
    for (load, panels) in loads.iter().zip(panels.chunks(2)) {
        draw_lag(&panels[0], load)?;
        draw_requests(&panels[1], load)?;
    }
    root.present()?;
    Ok(())
}

fn color(client: Client) -> RGBColor {
    match client {
        Client::Briefd => RGBColor(0, 100, 200),
        Client::PollLoop => RGBColor(220, 110, 0),
    }
}

fn draw_lag(area: &Area<'_>, load: &[Row]) -> Drawn {
    let points = || load.iter().flat_map(|row| &row.lag_over_time);
    let last = points().map(|(at, _)| *at).fold(1.0, f64::max);
    // Room for the names above the dots.
    let most = points().map(|(_, lag)| *lag).fold(10.0, f64::max) * 10.0;
    let title = format!("{}: lag of each record, API s", name(load));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..last * 1.02, (LAG_SECONDS_MIN..most).log_scale())?;
    chart.configure_mesh().x_desc("API seconds since the first brief").light_line_style(WHITE).draw()?;
    for row in load {
        let color = color(row.client);
        let dots = apart(&row.lag_over_time, last, most).into_iter();
        chart
            .draw_series(dots.map(|dot| Circle::new(dot, 2, color.mix(0.6).filled())))?
            .label(row.client.name())
            .legend(move |(x, y)| Circle::new((x + 8, y), 4, color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}

/// One of the dots that would lie upon each other: thousands of records shall not make a picture of megabytes.
fn apart(dots: &[(f64, f64)], last: f64, most: f64) -> Vec<(f64, f64)> {
    let mut cells = HashSet::new();
    let dots = dots.iter().map(|(at, lag)| (*at, lag.max(LAG_SECONDS_MIN)));
    dots.filter(|(at, lag)| {
        let height = (lag / LAG_SECONDS_MIN).log(most / LAG_SECONDS_MIN);
        cells.insert(format!("{:.0} {:.0}", at / last * CELLS.0, height * CELLS.1))
    })
    .collect()
}

fn draw_requests(area: &Area<'_>, load: &[Row]) -> Drawn {
    let most = load.iter().flat_map(|row| row.requests.values()).copied().fold(1.0, f64::max) * 1.15;
    let title = format!("{}: requests by kind (429s are among the others)", name(load));
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(60)
        .build_cartesian_2d((0..KINDS.len() - 1).into_segmented(), 0.0..most)?;
    let kind = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(index) | SegmentValue::Exact(index) => {
            KINDS.get(*index).unwrap_or(&"").to_string()
        }
        SegmentValue::Last => String::new(),
    };
    chart.configure_mesh().disable_x_mesh().light_line_style(WHITE).x_label_formatter(&kind).draw()?;
    for (place, row) in load.iter().enumerate() {
        let color = color(row.client);
        let bars = KINDS.iter().enumerate().map(|(index, kind)| {
            let count = row.requests.get(kind).copied().unwrap_or(0.0);
            let corners = [(SegmentValue::Exact(index), 0.0), (SegmentValue::Exact(index + 1), count)];
            let mut bar = Rectangle::new(corners, color.filled());
            // Two clients share a segment, side by side.
            let (left, right) = if place == 0 { (8, 44) } else { (44, 8) };
            bar.set_margin(0, 0, left, right);
            bar
        });
        chart.draw_series(bars)?;
    }
    Ok(())
}

fn name(load: &[Row]) -> String {
    load.first().map(|row| row.load.name()).unwrap_or_default()
}
