//! The timeline as SVG: a block for each person, a lane for each thing that the person held, a bar for each holding.

use super::escape::escaped;
use super::holding::{Begin, End, Holding, Period, What};
use chrono::{DateTime, Datelike as _, Months, NaiveDate, TimeDelta, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Told apart by people who do not see all colours, on white and on black, each with an outline. Nothing hangs on them alone:
/// every lane says what it is.
const COLOURS: [&str; 6] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];

const WIDTH: f64 = 1000.0;
/// Where the plot begins and ends.
const LEFT: f64 = 262.0;
const RIGHT: f64 = 984.0;
const AXIS: f64 = 34.0;
const HEAD: f64 = 22.0;
const LANE: f64 = 19.0;
const GAP: f64 = 8.0;
const BAR: f64 = 12.0;
/// A bar is never narrower: minutes stay visible in a year.
const NARROWEST: f64 = 4.0;
const ARROW: f64 = 6.0;
const MOST_TICKS: i64 = 13;
/// So many rows, of people and of what they held, are in one part.
const MOST_ROWS: usize = 28;
/// The hatching, which every part and the legend refer to.
const PATTERN: &str = "<svg class=\"pattern\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs><pattern id=\"unsure\" width=\"5\" height=\"5\" \
    patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
    <line x1=\"1\" y1=\"0\" x2=\"1\" y2=\"5\" stroke=\"currentColor\" stroke-width=\"1.5\"/></pattern></defs></svg>";
/// So many letters fit in front of a lane.
const LETTERS: usize = 36;

/// Everything that is held, each with its colour.
pub(super) fn colours(holdings: &[Holding]) -> BTreeMap<&What, &'static str> {
    let things: BTreeSet<&What> = holdings.iter().map(|holding| &holding.what).collect();
    things.into_iter().zip(COLOURS.into_iter().cycle()).collect()
}

/// More things than colours.
pub(super) fn colours_repeat(things: usize) -> bool {
    things > COLOURS.len()
}

/// What one person held, by thing.
type Block<'h> = (&'h str, BTreeMap<&'h What, Vec<&'h Holding>>);

/// The timeline, in parts that fit on a printed page each. `told` says a holding in words.
pub(super) fn of(holdings: &[Holding], period: Period, told: impl Fn(&Holding) -> String) -> String {
    let mut people: BTreeMap<&str, BTreeMap<&What, Vec<&Holding>>> = BTreeMap::new();
    for holding in holdings {
        people.entry(&holding.person).or_default().entry(&holding.what).or_default().push(holding);
    }
    let mut parts: Vec<Vec<Block<'_>>> = Vec::new();
    let mut rows = MOST_ROWS;
    for (person, things) in people {
        let more = things.len() + 1;
        if rows + more > MOST_ROWS {
            parts.push(Vec::new());
            rows = 0;
        }
        rows += more;
        parts.last_mut().into_iter().for_each(|part| part.push((person, things.clone())));
    }
    let colours = colours(holdings);
    let parts = parts.iter().enumerate();
    let draw = |(number, blocks): (usize, &Vec<Block<'_>>)| part(number + 1, blocks, &colours, Scale(period), &told);
    format!("{PATTERN}{}", parts.map(draw).collect::<String>())
}

fn part(
    number: usize,
    blocks: &[Block<'_>],
    colours: &BTreeMap<&What, &'static str>,
    scale: Scale,
    told: impl Fn(&Holding) -> String,
) -> String {
    let lanes: usize = blocks.iter().map(|(_, things)| things.len()).sum();
    let bottom = AXIS + count(blocks.len()) * (HEAD + GAP) + count(lanes) * LANE;
    let height = bottom + AXIS;
    let mut svg = format!(
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"timeline-{number}\">\
         <title id=\"timeline-{number}\">Timeline of who held what, part {number}; the table of holdings has the same in words</title>"
    );
    for tick in ticks(scale.0) {
        let x = scale.x(tick.at);
        let _ = write!(svg, "<line class=\"grid\" x1=\"{x:.1}\" y1=\"{AXIS}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\"/>");
        for y in [AXIS - 6.0, bottom + 14.0] {
            let _ = write!(svg, "<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", tick.label);
        }
        for y in [AXIS - 20.0, bottom + 28.0].into_iter().filter(|_| !tick.context.is_empty()) {
            let _ = write!(svg, "<text class=\"tick far\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>", tick.context);
        }
    }
    let mut y = AXIS;
    for (person, things) in blocks {
        let _ = write!(svg, "<line class=\"rule\" x1=\"0\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\"/>");
        let _ = write!(svg, "<text class=\"who\" x=\"4\" y=\"{:.1}\">{}</text>", y + 16.0, shortened(person));
        y += HEAD;
        for (what, held) in things {
            let middle = y + LANE / 2.0;
            let label = shortened(&what.to_string());
            let _ = write!(svg, "<text class=\"what\" x=\"16\" y=\"{:.1}\">{label}</text>", middle + 4.0);
            let colour = colours.get(what).copied().unwrap_or(COLOURS[0]);
            for holding in held {
                bar(&mut svg, scale, holding, middle, colour, &told(holding));
            }
            y += LANE;
        }
        y += GAP;
    }
    let _ = write!(svg, "<line class=\"rule\" x1=\"0\" y1=\"{y:.1}\" x2=\"{WIDTH}\" y2=\"{y:.1}\"/></svg>");
    svg
}

fn bar(svg: &mut String, scale: Scale, holding: &Holding, middle: f64, colour: &str, told: &str) {
    let Scale(period) = scale;
    let (from, to) = (holding.from(period), holding.to(period));
    let right = scale.x(to).max(scale.x(from) + NARROWEST).min(RIGHT);
    let left = scale.x(from).min(right - NARROWEST);
    let (top, bottom) = (middle - BAR / 2.0, middle + BAR / 2.0);
    let rect = |x: f64, width: f64, class: &str, fill: &str| {
        format!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{fill}\"/>"
        )
    };
    let _ = write!(svg, "<g class=\"bar\"><title>{}</title>", escaped(told));
    let knows_begin = !matches!(holding.begin, Begin::Unknown(_));
    let knows_end = !matches!(holding.end, End::Unknown(_));
    if knows_begin && knows_end {
        svg.push_str(&rect(left, right - left, "known", colour));
    } else {
        // What is known is an instant, what is hatched may have been.
        svg.push_str(&rect(left, right - left, "faint", colour));
        svg.push_str(&rect(left, right - left, "unsure", "url(#unsure)"));
        if knows_begin {
            svg.push_str(&rect(left, NARROWEST, "known", colour));
        }
        if knows_end {
            svg.push_str(&rect(right - NARROWEST, NARROWEST, "known", colour));
        }
    }
    let mut arrow = |x: f64, tip: f64| {
        let points = format!("{x:.1},{top:.1} {tip:.1},{middle:.1} {x:.1},{bottom:.1}");
        let _ = write!(svg, "<polygon class=\"known\" points=\"{points}\" fill=\"{colour}\"/>");
    };
    let began_before =
        matches!(holding.begin, Begin::Before) || matches!(holding.begin, Begin::At(at) if at < period.since);
    if began_before {
        arrow(left, left - ARROW);
    }
    let goes_on = matches!(holding.end, End::Still) || matches!(holding.end, End::At(at) if at > period.until);
    if goes_on {
        arrow(right, right + ARROW);
    }
    svg.push_str("</g>");
}

/// Where instants are in the plot.
#[derive(Clone, Copy)]
struct Scale(Period);

impl Scale {
    fn x(self, at: DateTime<Utc>) -> f64 {
        let Period { since, until, .. } = self.0;
        let part = seconds(at - since) / seconds(until - since).max(1.0);
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a year has 31 million seconds")]
fn seconds(time: TimeDelta) -> f64 {
    time.num_seconds() as f64
}

#[expect(clippy::cast_precision_loss, reason = "lanes are few")]
fn count(number: usize) -> f64 {
    number as f64
}

/// The text, or its beginning with the whole of it to point at.
fn shortened(text: &str) -> String {
    if text.chars().count() <= LETTERS {
        return escaped(text);
    }
    let beginning: String = text.chars().take(LETTERS - 1).collect();
    format!("<title>{}</title>{}…", escaped(text), escaped(&beginning))
}

/// A mark of the axis.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tick {
    at: DateTime<Utc>,
    label: String,
    /// The day or the year, at the first mark of each.
    context: String,
}

#[derive(Clone, Copy)]
enum Step {
    Minutes(i64),
    Days(i64),
    Months(u32),
}

const STEPS: [Step; 14] = [
    Step::Minutes(5),
    Step::Minutes(15),
    Step::Minutes(30),
    Step::Minutes(60),
    Step::Minutes(120),
    Step::Minutes(180),
    Step::Minutes(360),
    Step::Minutes(720),
    Step::Days(1),
    Step::Days(2),
    Step::Days(7),
    Step::Days(14),
    Step::Months(1),
    Step::Months(3),
];

impl Step {
    fn lasts(self) -> TimeDelta {
        match self {
            Self::Minutes(minutes) => TimeDelta::minutes(minutes),
            Self::Days(days) => TimeDelta::days(days),
            Self::Months(months) => TimeDelta::days(28 * i64::from(months)),
        }
    }

    /// The first mark at or after an instant.
    fn first(self, since: DateTime<Utc>) -> Option<DateTime<Utc>> {
        // 1970 began on a Thursday; weeks begin on Monday.
        let (seconds, origin) = match self {
            Self::Minutes(minutes) => (minutes * 60, 0),
            Self::Days(days) => (days * 86_400, if days % 7 == 0 { 4 * 86_400 } else { 0 }),
            Self::Months(months) => {
                let date = since.date_naive();
                let first = NaiveDate::from_ymd_opt(date.year(), 1 + date.month0() / months * months, 1)?;
                let first = first.and_hms_opt(0, 0, 0)?.and_utc();
                return if first < since { self.next(first) } else { Some(first) };
            }
        };
        let past = (since.timestamp() - origin).rem_euclid(seconds);
        let at = DateTime::from_timestamp(since.timestamp() - past, 0)?;
        if at < since { self.next(at) } else { Some(at) }
    }

    fn next(self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Months(months) => at.checked_add_months(Months::new(months)),
            _ => at.checked_add_signed(self.lasts()),
        }
    }

    /// How marks are labelled, and what stands beside the first of a day or of a year.
    fn formats(self) -> [&'static str; 2] {
        match self {
            Self::Minutes(_) => ["%H:%M", "%-d %b %Y"],
            Self::Days(_) => ["%-d %b", "%Y"],
            Self::Months(_) => ["%b", "%Y"],
        }
    }
}

fn ticks(period: Period) -> Vec<Tick> {
    let lasts = period.until - period.since;
    let fits = |step: &Step| lasts.num_seconds() / step.lasts().num_seconds() <= MOST_TICKS;
    let step = STEPS.into_iter().find(fits).unwrap_or(Step::Months(3));
    let [label, context] = step.formats();
    let mut ticks = Vec::new();
    let mut said = String::new();
    let mut next = step.first(period.since);
    while let Some(at) = next.filter(|at| *at <= period.until) {
        let context = at.format(context).to_string();
        let is_new = context != said;
        said.clone_from(&context);
        ticks.push(Tick {
            at,
            label: at.format(label).to_string(),
            context: if is_new { context } else { String::new() },
        });
        next = step.next(at);
    }
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(since: &str, until: &str) -> Vec<String> {
        let [since, until] = [since, until].map(|at| at.parse().unwrap());
        ticks(Period { since, until, now: until })
            .into_iter()
            .map(|tick| format!("{} {}", tick.context, tick.label))
            .collect()
    }

    #[test]
    fn a_night_is_marked_by_hours_a_quarter_by_weeks_that_begin_on_monday_a_year_by_months() {
        let night = labels("2026-11-29T20:10:00Z", "2026-11-30T06:00:00Z");
        assert_eq!(night[..5], ["29 Nov 2026 21:00", " 22:00", " 23:00", "30 Nov 2026 00:00", " 01:00"]);
        let quarter = labels("2026-09-01T00:00:00Z", "2026-11-29T00:00:00Z");
        assert_eq!(quarter[..3], ["2026 7 Sep", " 14 Sep", " 21 Sep"]);
        let year = labels("2025-12-15T00:00:00Z", "2026-11-29T00:00:00Z");
        assert_eq!(year[..2], ["2026 Jan", " Feb"]);
    }

    #[test]
    fn no_period_has_so_many_marks_that_they_touch() {
        let since: DateTime<Utc> = "2025-10-31T23:59:59Z".parse().unwrap();
        for minutes in (1..400 * 24 * 60).step_by(977) {
            let until = since + TimeDelta::minutes(minutes);
            let ticks = ticks(Period { since, until, now: until });
            assert!(ticks.len() <= 15 && (ticks.len() >= 2 || minutes < 15), "{minutes}: {}", ticks.len());
            assert!(ticks.iter().all(|tick| (since..=until).contains(&tick.at)), "{minutes}");
        }
    }
}
