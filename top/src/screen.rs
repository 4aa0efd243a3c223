// SPDX-License-Identifier: GPL-3.0-or-later
//! Draws the table on a terminal.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::widgets::{Cell, Paragraph, Row, Table};
use ratatui::{DefaultTerminal, Frame};

use super::rates::Rates;
use super::table::{COLUMNS, Order, cells, sorted, summary};
use super::{Failure, Sampler, signals};

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Quit,
    Sort(Order),
}

/// Shows tables until a key says to quit, or so many were shown.
pub(crate) fn run(
    terminal: &mut DefaultTerminal,
    signals: &signals::Terminal,
    sampler: &mut Sampler,
    delay: Duration,
    iterations: u64,
) -> Result<(), Failure> {
    let mut order = Order::Cpu;
    for iteration in 0..iterations {
        if iteration > 0 {
            sampler.sample()?;
        }
        let next = Instant::now() + delay;
        loop {
            let drawing = signals.drawing();
            terminal.draw(|frame| draw(frame, &sampler.rates, order)).map_err(Failure::Terminal)?;
            drop(drawing);
            let left = next.saturating_duration_since(Instant::now());
            if !event::poll(left).map_err(Failure::Terminal)? {
                break;
            }
            // Others, such as another size, only have the table drawn again.
            if let Event::Key(key) = event::read().map_err(Failure::Terminal)? {
                match action(key) {
                    Some(Action::Quit) => return Ok(()),
                    Some(Action::Sort(by)) => order = by,
                    None => {}
                }
            }
        }
    }
    Ok(())
}

fn action(key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if is_control => Action::Quit,
        KeyCode::Char('q') | KeyCode::Esc => Action::Quit,
        KeyCode::Char('c') => Action::Sort(Order::Cpu),
        KeyCode::Char('m') => Action::Sort(Order::Memory),
        KeyCode::Char('n') => Action::Sort(Order::Network),
        KeyCode::Char('d') => Action::Sort(Order::Disk),
        _ => return None,
    })
}

fn draw(frame: &mut Frame<'_>, rates: &Rates, order: Order) {
    let [top, bottom] =
        Layout::vertical([Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
    let bold = Style::new().add_modifier(Modifier::REVERSED);
    let header = Row::new(COLUMNS.map(|(title, _)| Cell::from(title))).style(bold);
    let rows = sorted(rates, order).into_iter().map(|domain| Row::new(cells(domain)));
    let widths = COLUMNS.map(|(_, width)| match u16::try_from(width) {
        Ok(0) | Err(_) => Constraint::Min(8),
        Ok(width) => Constraint::Length(width),
    });
    frame.render_widget(Table::new(rows, widths).header(header), top);
    frame.render_widget(Paragraph::new(summary(rates)), bottom);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::rates::tests::figures;

    #[test]
    fn the_screen_shows_the_table_with_bars_and_its_summary() {
        let (mut rates, start) = (Rates::default(), Instant::now());
        rates.add(figures(1, 0), start);
        rates.add(figures(1, 1_000_000_000), start + Duration::from_secs(1));
        let mut terminal = Terminal::new(TestBackend::new(140, 6)).unwrap();
        terminal.draw(|frame| draw(frame, &rates, Order::Cpu)).unwrap();
        let cells = terminal.backend().buffer().content();
        let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        for part in ["NAME", "Domain-0", "web", "100.0", "█", "2 domains; also"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn keys_sort_and_quit() {
        let press = |code, modifiers| action(KeyEvent::new(code, modifiers));
        let plain = KeyModifiers::NONE;
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Action::Quit));
        assert_eq!(press(KeyCode::Char('c'), plain), Some(Action::Sort(Order::Cpu)));
        assert_eq!(press(KeyCode::Char('d'), plain), Some(Action::Sort(Order::Disk)));
        assert_eq!(press(KeyCode::Char('q'), plain), Some(Action::Quit));
        assert_eq!(press(KeyCode::Char('x'), plain), None);
    }
}
