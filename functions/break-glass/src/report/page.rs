//! The report as one HTML page: no script, nothing from elsewhere, everything that was read escaped.

use super::escape::escaped;
use super::holding::{Begin, End, Holding, Period, What};
use super::power::{Holders, Power, Tie};
use super::{Findings, sources, timeline};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");

/// What the words of the tables mean.
const NOTES: &str = "<section aria-labelledby=\"h-notes\">\n<h2 id=\"h-notes\">How to read this</h2>\n<ul>\n\
    <li>Source: <em>log</em> is the audit lines of break-glass and oncall-sync, <em>ledger</em> what oncall-sync remembers of a group, \
    <em>record</em> what break-glass remembers of a login.</li>\n\
    <li><em>still</em>: the ledger or the record says so now. An end that neither the log nor these tell is <em>unknown</em>.</li>\n\
    <li><em>before the period</em> without a time: the log of the period has the end alone. It may also mean that the log does not reach \
    back so far: compare the retention of the log groups.</li>\n\
    <li><em>out_of_band</em>: somebody was put into the group at Okta itself, by whom and when is in Okta's System Log.</li>\n\
    <li>The functions wrote these logs themselves. The second witnesses are Okta's System Log and the logs of the databases.</li>\n\
    </ul>\n</section>\n";

pub(super) fn of(findings: &Findings) -> String {
    let Findings { period, holdings, databases, unknown } = findings;
    let Period { since, until, now } = *period;
    // The page's own style and nothing else: a browser that is given more refuses it.
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!("default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'");
    let (from, to) = (day_and_time(since), day_and_time(until));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>Access report, {from} to {to} UTC</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <h1>Access report</h1>\n<p>Who held access from {} to {}, and who holds power over the databases now. Made {}. \
         All times are UTC.</p>\n</header>\n<main>\n",
        time(since),
        time(until),
        time(now)
    );
    page.push_str(&gaps(unknown));
    page.push_str(&figures(findings));
    page.push_str("<section aria-labelledby=\"h-timeline\">\n<h2 id=\"h-timeline\">Timeline</h2>\n");
    if holdings.is_empty() {
        let what = if unknown.is_empty() {
            "Nobody held anything in this period."
        } else {
            "Nothing was found; see what could not be read."
        };
        let _ = writeln!(page, "<p>{what}</p>");
    } else {
        let svg = timeline::of(holdings, *period, |holding| told(holding, *period));
        let _ = writeln!(
            page,
            "<div class=\"wide\" role=\"region\" aria-label=\"Timeline\" tabindex=\"0\">{svg}</div>\n{}",
            legend(holdings)
        );
    }
    page.push_str("</section>\n");
    page.push_str(&table_of_powers(databases));
    page.push_str(&table_of_holdings(holdings, *period));
    page.push_str(NOTES);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn gaps(unknown: &[String]) -> String {
    if unknown.is_empty() {
        return "<p class=\"whole\">Everything that this report is made of could be read.</p>\n".to_owned();
    }
    let items: Vec<String> = unknown.iter().map(|what| format!("<li>{}</li>\n", escaped(what))).collect();
    let items = items.concat();
    format!(
        "<section class=\"gaps\" aria-labelledby=\"h-gaps\">\n<h2 id=\"h-gaps\">What could not be read</h2>\n\
         <p>This report has gaps. What is listed here is unknown, which does not mean that there was nothing.</p>\n<ul>\n{items}</ul>\n</section>\n"
    )
}

fn figures(findings: &Findings) -> String {
    let Findings { holdings, databases, .. } = findings;
    let unsure = holdings.iter().filter(|holding| is_unsure(holding)).count();
    let unread = databases.iter().filter(|holders| holders.powers.is_err()).count();
    let untied = findings.untied();
    let untied = if unread == 0 { untied.to_string() } else { format!("{untied} or more") };
    let figure = |number: &str, what: &str, is_finding: bool| {
        let class = if is_finding { " class=\"finding\"" } else { "" };
        format!("<div{class}><dt>{what}</dt><dd>{number}</dd></div>\n")
    };
    format!(
        "<dl class=\"figures\">\n{}{}{}{}</dl>\n",
        figure(&holdings.len().to_string(), "held in the period", false),
        figure(&findings.still().to_string(), "of these still held", false),
        figure(&unsure.to_string(), "with an unknown beginning or end", unsure > 0),
        figure(&untied, "logins with power, tied to nothing", findings.untied() > 0 || unread > 0),
    )
}

fn legend(holdings: &[Holding]) -> String {
    let swatch = |shapes: &str| {
        format!(
            "<svg class=\"swatch\" viewBox=\"-8 0 44 14\" width=\"44\" height=\"14\" aria-hidden=\"true\">{shapes}</svg>"
        )
    };
    let known =
        |fill: &str| format!("<rect class=\"known\" x=\"0\" y=\"1\" width=\"28\" height=\"12\" fill=\"{fill}\"/>");
    let colours = timeline::colours(holdings);
    let mut items = String::new();
    for (what, colour) in &colours {
        let _ = writeln!(items, "<li>{} {}</li>", swatch(&known(colour)), escaped(&what.to_string()));
    }
    let grey = "#8b949e";
    let left = format!("<polygon class=\"known\" points=\"0,1 -6,7 0,13\" fill=\"{grey}\"/>{}", known(grey));
    let right = format!("{}<polygon class=\"known\" points=\"28,1 34,7 28,13\" fill=\"{grey}\"/>", known(grey));
    let unsure = format!(
        "<rect class=\"faint\" x=\"0\" y=\"1\" width=\"28\" height=\"12\" fill=\"{grey}\"/>\
         <rect class=\"unsure\" x=\"0\" y=\"1\" width=\"28\" height=\"12\" fill=\"url(#unsure)\"/>"
    );
    let repeat = if timeline::colours_repeat(colours.len()) {
        "<p>Colours repeat; the name in front of each bar counts.</p>\n"
    } else {
        ""
    };
    format!(
        "<ul class=\"legend\" aria-label=\"Legend\">\n{items}<li>{} began before the period</li>\n\
         <li>{} still held, or ended after the period</li>\n<li>{} may have been held: the beginning or the end is unknown</li>\n</ul>\n{repeat}",
        swatch(&left),
        swatch(&right),
        swatch(&unsure)
    )
}

fn table_of_holdings(holdings: &[Holding], period: Period) -> String {
    let mut table = head(
        "h-held",
        "What was held",
        "Every opening of a database and every grant of a group in the period, oldest first",
        &["Who", "What", "From", "To", "How long", "Why it began", "Why it ended", "Source"],
    );
    if holdings.is_empty() {
        table.push_str("<tr><td colspan=\"8\">nothing that could be read</td></tr>\n");
    }
    for holding in holdings {
        let Holding { what, person, account, why_begun, why_ended, .. } = holding;
        let account =
            if account == person { String::new() } else { format!("<br><small>{}</small>", escaped(account)) };
        let class = if is_unsure(holding) || is_overdue(holding, period) { " class=\"finding\"" } else { "" };
        let _ = writeln!(
            table,
            "<tr{class}><th scope=\"row\">{}{account}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(person),
            thing(what),
            begin(holding, period),
            end(holding, period),
            how_long(holding, period),
            or_dash(why_begun),
            or_dash(why_ended),
            escaped(&sources(holding)),
        );
    }
    table.push_str(TAIL);
    table
}

fn table_of_powers(databases: &[Holders]) -> String {
    let mut table = head(
        "h-power",
        "Who holds power now",
        "Logins with power in each configured database; first what could not be read, then logins that nothing answers for",
        &["Login", "Database", "What it may do", "Ends", "Tied to"],
    );
    if databases.is_empty() {
        table.push_str("<tr><td colspan=\"5\">no database is configured, or none could be read</td></tr>\n");
    }
    for Holders { database, engine, powers } in databases {
        let place = place(database, engine);
        match powers {
            Err(why) => {
                let _ = writeln!(
                    table,
                    "<tr class=\"finding\"><th scope=\"row\">unknown</th><td>{place}</td><td colspan=\"3\">could not be read: {}</td></tr>",
                    escaped(why)
                );
            }
            Ok(powers) if powers.is_empty() => {
                let _ =
                    writeln!(table, "<tr><th scope=\"row\">nobody</th><td>{place}</td><td colspan=\"3\"></td></tr>");
            }
            Ok(_) => {}
        }
    }
    let rows = databases.iter().flat_map(|holders| {
        let powers = holders.powers.as_deref().unwrap_or_default();
        powers.iter().map(move |power| (&power.tie, holders, power))
    });
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|(tie, _, _)| **tie != Tie::Nothing);
    for (tie, Holders { database, engine, .. }, Power { login, powers, until, .. }) in rows {
        let (class, tied) = match tie {
            Tie::Nothing => (" class=\"finding\"", "<strong>nothing</strong>".to_owned()),
            tie => ("", escaped(&tie.to_string())),
        };
        let _ = writeln!(
            table,
            "<tr{class}><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{tied}</td></tr>",
            escaped(login),
            place(database, engine),
            escaped(&powers.join(", ")),
            until.map_or_else(|| "never".to_owned(), time),
        );
    }
    table.push_str(TAIL);
    table
}

const TAIL: &str = "</tbody>\n</table>\n</div>\n</section>\n";

fn head(id: &str, title: &str, caption: &str, columns: &[&str]) -> String {
    let columns: Vec<String> = columns.iter().map(|column| format!("<th scope=\"col\">{column}</th>")).collect();
    let columns = columns.concat();
    format!(
        "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{title}</h2>\n\
         <div class=\"wide\" role=\"region\" aria-label=\"Table: {title}\" tabindex=\"0\">\n<table>\n<caption>{caption}</caption>\n\
         <thead><tr>{columns}</tr></thead>\n<tbody>\n"
    )
}

fn thing(what: &What) -> String {
    match what {
        What::Database(name) => format!("database {}", escaped(name)),
        What::Group { binding, group } => format!("group {} <small>{}</small>", escaped(binding), escaped(group)),
    }
}

fn place(database: &str, engine: &str) -> String {
    let engine = if engine.is_empty() { String::new() } else { format!(" <small>({engine})</small>") };
    format!("{}{engine}", escaped(database))
}

fn is_unsure(holding: &Holding) -> bool {
    matches!(holding.begin, Begin::Unknown(_)) || matches!(holding.end, End::Unknown(_))
}

/// It should have ended, and goes on.
fn is_overdue(holding: &Holding, period: Period) -> bool {
    holding.end == End::Still && holding.planned.is_some_and(|planned| planned < period.now)
}

fn begin(holding: &Holding, period: Period) -> String {
    match holding.begin {
        Begin::At(at) if at < period.since => format!("{} <small>before the period</small>", time(at)),
        Begin::At(at) => time(at),
        Begin::Before => "before the period".to_owned(),
        Begin::Unknown(at) => format!("<strong>unknown</strong> <small>not before {}</small>", time(at)),
    }
}

fn end(holding: &Holding, period: Period) -> String {
    let planned =
        holding.planned.map_or_else(String::new, |planned| format!(" <small>planned {}</small>", time(planned)));
    match holding.end {
        End::At(at) if at > period.until => format!("{} <small>after the period</small>{planned}", time(at)),
        End::At(at) => format!("{}{planned}", time(at)),
        End::Still if is_overdue(holding, period) => format!("<strong>still, past its end</strong>{planned}"),
        End::Still => format!("still{planned}"),
        End::Unknown(_) => format!("<strong>unknown</strong>{planned}"),
    }
}

fn how_long(holding: &Holding, period: Period) -> String {
    let most = words(holding.to(period) - holding.from(period));
    match (holding.begin, holding.end) {
        (Begin::At(_), End::At(_)) => most,
        (Begin::At(_), End::Still) => format!("{most} so far"),
        (Begin::Before, End::At(_) | End::Still) => format!("{most} or more"),
        _ => "unknown".to_owned(),
    }
}

fn words(time: TimeDelta) -> String {
    let minutes = time.num_minutes();
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{} s", time.num_seconds().max(0)),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes:02} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// A holding in one line, for whoever points at its bar.
fn told(holding: &Holding, period: Period) -> String {
    let Holding { what, person, account, why_begun, .. } = holding;
    let from = match holding.begin {
        Begin::At(at) => format!("from {}", day_and_time(at)),
        Begin::Before => "from before the period".to_owned(),
        Begin::Unknown(_) => "from an unknown time".to_owned(),
    };
    let to = match holding.end {
        End::At(at) => format!("to {}", day_and_time(at)),
        End::Still => "still".to_owned(),
        End::Unknown(_) => "to an unknown time".to_owned(),
    };
    format!("{person}: {what} as {account}, {from} {to} ({}). {why_begun}", how_long(holding, period))
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "–".to_owned() } else { escaped(text) }
}

fn day_and_time(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M").to_string()
}

fn time(at: DateTime<Utc>) -> String {
    format!("<time datetime=\"{}\">{}</time>", at.format("%Y-%m-%dT%H:%M:%SZ"), at.format("%Y-%m-%d %H:%M"))
}
