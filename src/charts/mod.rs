//! The drawing code and what it draws with, for the live page and for reports: one piece of code.
//!
//! | file | is |
//! |---|---|
//! | `draw.js` | charts of a stream, incident cards, sparklines, curves, CSV; one global, `Draw` |
//! | `words.js` | elements, and numbers, times and names in words; one global, `Words` |
//! | `style.css` | colours (dark and light) and shapes |
//! | `sheet.js`, `sheet.css` | sections and tables of a report; one global, `Sheet` |
//! | `uplot/` | uPlot 1.6.32, MIT, as its package has it built, with its licence |
//!
//! The shape that is drawn is [`crate::history::HistoryView`] as JSON, the same as in
//! `GET /api/v1/streams/{stream}/history`. In a page or a report:
//!
//! ```js
//! const charts = Draw.stream(element, { height: 150, onRange: range => {} });
//! charts.update(history);                      // again with a newer history at any time
//! charts.setRange([from_ms, to_ms]);           // null for all
//! element.append(Draw.incidentCard(incident)); // a member of history.incidents
//! Draw.alarmsAt(history, 1.2);                 // stretches [from_ms, to_ms] with a score of 1.2 and more
//! Draw.curves(element, { title, x, series: [{ label, values, colour: "chart-value" }] });
//! ```
//!
//! Everything is text nodes, never markup, so that a name cannot be read as any. [`report`] makes
//! one file of it all, which opens from disk without a network.

use serde::Serialize;

/// uPlot, minified, adds the global `uPlot`.
pub const UPLOT_JS: &str = include_str!("uplot/uPlot.iife.min.js");
/// uPlot's own style sheet.
pub const UPLOT_CSS: &str = include_str!("uplot/uPlot.min.css");
/// uPlot's licence.
pub const UPLOT_LICENSE: &str = include_str!("uplot/LICENSE");
/// The drawing code and the words it uses; needs uPlot.
pub const DRAW_JS: &str = concat!(include_str!("words.js"), "\n", include_str!("draw.js"));
/// Colours and shapes.
pub const STYLE_CSS: &str = include_str!("style.css");

const REPORT: &str = include_str!("report.html");
const SHEET_JS: &str = include_str!("sheet.js");
const SHEET_CSS: &str = include_str!("sheet.css");

/// One self-contained HTML file. `script` finds `data` as `Sheet.data`, and builds the report with
/// `Draw` and `Sheet`.
///
/// # Errors
/// If `data` has no JSON form.
pub fn report<T: Serialize>(title: &str, data: &T, script: &str) -> serde_json::Result<String> {
    let data = inert(&serde_json::to_string(data)?);
    let style = format!("{UPLOT_CSS}\n{STYLE_CSS}\n{SHEET_CSS}");
    let license = UPLOT_LICENSE.trim();
    let script = format!("/* uPlot:\n{license}\n*/\n{UPLOT_JS}\n{DRAW_JS}\n{SHEET_JS}\n{script}");
    let mut html = String::with_capacity(REPORT.len() + data.len() + style.len() + script.len());
    let mut rest = REPORT;
    while let Some((before, after)) = rest.split_once('@') {
        let Some((name, after)) = after.split_once('@') else {
            break;
        };
        html.push_str(before);
        match name {
            "TITLE" => html.push_str(&escaped(title)),
            "STYLE" => html.push_str(&style),
            "DATA" => html.push_str(&data),
            "SCRIPT" => html.push_str(&script),
            _ => unreachable!("the template names nothing else"),
        }
        rest = after;
    }
    html.push_str(rest);
    Ok(html)
}

/// JSON that no HTML parser takes for markup: every `<` as an escape.
fn inert(json: &str) -> String {
    json.replace('<', "\\u003c")
}

/// Text for an element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_file_whose_data_cannot_end_its_element() {
        let data = serde_json::json!({"stream": "</script><script>alert(1)</script>"});
        let html = report("a <b> & c", &data, "Draw.el('p');").unwrap();
        assert!(html.contains("<title>a &lt;b&gt; &amp; c</title>"));
        assert!(!html.contains("<script>alert"));
        assert!(html.contains("\\u003c/script>"));
        assert!(html.contains("Copyright (c) 2022 Leon Sorokin"));
        assert!(html.contains("Draw.el('p');"));
        assert_eq!(html.matches("<script").count(), 2);
        assert!(!html.contains("src="), "nothing is loaded from elsewhere");
    }

    #[test]
    fn no_script_holds_the_end_of_its_own_element() {
        for script in [UPLOT_JS, DRAW_JS, SHEET_JS] {
            assert!(!script.contains("</script"));
        }
    }
}
