//! What is on the screen, and what keys change of it. Knows no terminal and no clock.

use std::net::SocketAddr;

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Row, Table, TableState};

use super::super::node::Origin;
use super::column::{self, Column};
use super::feed::{State, Watched};
use super::pane;

/// Below this the screen has room for the table only.
const HEIGHT_WITH_PANE: u16 = 14;
const KEYS: &str = " q quit   up/down node   left/right sort by   r reverse   l log   c console   h help";
const HELP: [&str; 13] = [
    "up, down (k, j)       choose a node",
    "left, right (<, >)    sort by the column beside it",
    "r                     the other way round",
    "l                     its log; PgUp and PgDn go through it",
    "d                     its details",
    "c                     its console: of a virtual node, Ctrl-] leaves;",
    "                      of one on the network a shell over SSH",
    "h, ?                  this",
    "q, Esc, Ctrl-C        the end",
    "",
    "Rates are those of the last second. 'health' says whether a",
    "measurement of now can be trusted: throttled, under_voltage ...;",
    "unknown: a virtual board has no firmware that would know.",
];

/// What the user wants that the view can't do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing.
    None,
    /// That the program ends.
    End,
    /// A node's console; the number is that in the list.
    Console(usize),
}

/// What is below the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pane {
    Details,
    Log,
}

/// See the module.
#[derive(Debug)]
pub(super) struct View {
    sort: Column,
    is_reversed: bool,
    selected: Option<(Origin, SocketAddr)>,
    pane: Pane,
    has_help: bool,
    /// Log lines below the last one that is shown.
    scrolled: usize,
    table: TableState,
    /// What went wrong, until the next key.
    notice: Option<String>,
}

impl View {
    /// Sorts by a column.
    pub(super) fn new(sort: Column) -> Self {
        Self {
            sort,
            is_reversed: false,
            selected: None,
            pane: Pane::Details,
            has_help: false,
            scrolled: 0,
            table: TableState::default(),
            notice: None,
        }
    }

    /// Shows something in place of the keys until one is pressed.
    pub(super) fn notify(&mut self, notice: String) {
        self.notice = Some(notice);
    }

    /// Does what a key stands for.
    pub(super) fn press(&mut self, key: KeyEvent, nodes: &[Watched]) -> Wish {
        self.notice = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c')) {
            return Wish::End;
        }
        if self.has_help {
            self.has_help = false;
            return Wish::None;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Wish::End,
            KeyCode::Char('h' | '?') => self.has_help = true,
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Left | KeyCode::Char('<') => self.sort = self.sort.beside(false),
            KeyCode::Right | KeyCode::Char('>') => self.sort = self.sort.beside(true),
            KeyCode::Down | KeyCode::Char('j') => self.select(nodes, 1),
            KeyCode::Up | KeyCode::Char('k') => self.select(nodes, -1),
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_add(pane::PAGE),
            KeyCode::PageDown => self.scrolled = self.scrolled.saturating_sub(pane::PAGE),
            KeyCode::Char('l') => (self.pane, self.scrolled) = (Pane::Log, 0),
            KeyCode::Char('d') => self.pane = Pane::Details,
            KeyCode::Char('c') => {
                return self.order(nodes).get(self.position(nodes)).map_or(Wish::None, |index| Wish::Console(*index));
            }
            _ => {}
        }
        Wish::None
    }

    fn order(&self, nodes: &[Watched]) -> Vec<usize> {
        column::order(nodes, self.sort, self.is_reversed)
    }

    /// Returns where the chosen node is on the screen; the first if none was chosen.
    fn position(&self, nodes: &[Watched]) -> usize {
        let is_chosen = |index: &usize| {
            let node = &nodes[*index].node;
            self.selected.as_ref().is_some_and(|(origin, address)| *origin == node.origin && *address == node.address)
        };
        self.order(nodes).iter().position(is_chosen).unwrap_or(0)
    }

    fn select(&mut self, nodes: &[Watched], step: isize) {
        let order = self.order(nodes);
        let position = self.position(nodes).saturating_add_signed(step).min(order.len().saturating_sub(1));
        let node = order.get(position).map(|index| &nodes[*index].node);
        self.selected = node.map(|node| (node.origin.clone(), node.address));
        self.scrolled = 0;
    }

    /// Draws all of it.
    pub(super) fn draw(&mut self, frame: &mut Frame<'_>, nodes: &[Watched]) {
        let area = frame.area();
        let below = match self.pane {
            _ if area.height < HEIGHT_WITH_PANE => 0,
            Pane::Details => pane::DETAILS_HEIGHT,
            Pane::Log => area.height / 2,
        };
        let parts = [Constraint::Length(1), Constraint::Min(2), Constraint::Length(below), Constraint::Length(1)];
        let [title, table, below, keys] = Layout::vertical(parts).areas(area);
        let bar = Style::new().add_modifier(Modifier::REVERSED);
        frame.render_widget(Paragraph::new(summary(nodes)).style(bar), title);
        self.draw_table(frame, table, nodes);
        if let Some(watched) = self.order(nodes).get(self.position(nodes)).map(|index| &nodes[*index]) {
            let (name, lines) = match self.pane {
                Pane::Details => ("", pane::details(watched)),
                Pane::Log => {
                    ("log of ", pane::log(watched, usize::from(below.height.saturating_sub(1)), &mut self.scrolled))
                }
            };
            let block = Block::new().borders(Borders::TOP).title(format!(" {name}{} ", watched.node.name));
            frame.render_widget(Paragraph::new(lines.join("\n")).block(block), below);
        }
        frame.render_widget(Paragraph::new(self.notice.as_deref().unwrap_or(KEYS)).style(bar), keys);
        if self.has_help {
            draw_help(frame, area);
        }
    }

    fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect, nodes: &[Watched]) {
        let headings = column::headings(self.sort, self.is_reversed);
        let rows: Vec<(Vec<String>, Style)> =
            self.order(nodes).iter().map(|index| (column::row(&nodes[*index]), style(&nodes[*index]))).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|(row, _)| row.get(column)).chain(headings.get(column));
            cells.map(|cell| cell.chars().count()).max().and_then(|width| u16::try_from(width).ok()).unwrap_or(0)
        };
        let last = headings.len().saturating_sub(1);
        let widths =
            (0..headings.len()).map(|at| if at == last { Constraint::Fill(1) } else { Constraint::Length(width(at)) });
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let header = Row::new(headings.clone()).style(bold);
        let table = Table::new(rows.iter().map(|(row, style)| Row::new(row.clone()).style(*style)), widths)
            .header(header)
            .column_spacing(2)
            .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
        self.table.select((!nodes.is_empty()).then(|| self.position(nodes)));
        frame.render_stateful_widget(table, area, &mut self.table);
    }
}

fn style(watched: &Watched) -> Style {
    match &watched.state {
        State::Away(_) => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        State::Live(figures) if figures.is_valid == Some(false) || figures.faults.is_some() => {
            Style::new().fg(Color::Yellow)
        }
        State::Asked | State::Live(_) => Style::new(),
    }
}

/// Says how many there are, and who is away, whatever has room below.
fn summary(nodes: &[Watched]) -> String {
    let away: Vec<&str> =
        nodes.iter().filter(|n| matches!(n.state, State::Away(_))).map(|n| n.node.name.as_str()).collect();
    let count = format!(" {} node{}", nodes.len(), if nodes.len() == 1 { "" } else { "s" });
    match away.as_slice() {
        [] => format!("{count}, all answer"),
        [name] => format!("{count}; {name} does not answer"),
        names => format!("{count}; {} do not answer: {}", names.len(), names.join(", ")),
    }
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let longest = HELP.iter().map(|line| line.len()).max().unwrap_or(0);
    let [width, height] = [longest + 4, HELP.len() + 2].map(|len| u16::try_from(len).unwrap_or(u16::MAX));
    let area = area.centered(Constraint::Length(width), Constraint::Length(height));
    let text = HELP.map(|line| format!(" {line}")).join("\n");
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(text).block(Block::bordered().title(" help ")), area);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::column::tests::nodes;
    use super::*;

    /// Returns what is on a screen of that size.
    fn screen(view: &mut View, nodes: &[Watched], width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame, nodes)).unwrap();
        terminal.backend().to_string()
    }

    fn press(view: &mut View, keys: &str, nodes: &[Watched]) -> Wish {
        let press = |key| view.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE), nodes);
        keys.chars().map(press).last().unwrap()
    }

    /// Returns at which line each text is.
    fn lines(screen: &str, texts: [&str; 3]) -> [usize; 3] {
        texts.map(|text| {
            let line = screen.lines().position(|line| line.contains(text));
            assert!(line.is_some(), "no {text}:\n{screen}");
            line.unwrap()
        })
    }

    #[test]
    fn the_table_is_sorted_and_names_who_does_not_answer() {
        let (mut view, nodes) = (View::new(Column::Cpu), nodes());
        let shown = screen(&mut view, &nodes, 130, 24);
        assert!(shown.contains("3 nodes; pi-2 does not answer"), "{shown}");
        let [busiest, busy, away] = lines(&shown, ["99.9%", "25.0%", "QEMU ended with signal: 9"]);
        assert!(busiest < busy && busy < away, "{shown}");
        assert!(shown.contains("cpu v") && shown.contains("q quit"), "{shown}");
        press(&mut view, "r", &nodes);
        let shown = screen(&mut view, &nodes, 130, 24);
        let [busiest, busy, away] = lines(&shown, ["99.9%", "25.0%", "DOES NOT ANSWER"]);
        assert!(busy < busiest && busiest < away && shown.contains("cpu ^"), "{shown}");
        press(&mut view, ">", &nodes);
        assert!(screen(&mut view, &nodes, 130, 24).contains("in bit/s ^"));
    }

    #[test]
    fn the_chosen_node_stays_chosen_when_the_order_changes() {
        let (mut view, mut nodes) = (View::new(Column::Cpu), nodes());
        assert_eq!(press(&mut view, "c", &nodes), Wish::Console(2));
        assert_eq!(press(&mut view, "jc", &nodes), Wish::Console(0));
        assert_eq!(press(&mut view, "rc", &nodes), Wish::Console(0));
        nodes.reverse();
        assert_eq!(press(&mut view, "c", &nodes), Wish::Console(2));
        assert_eq!(press(&mut view, "jjjjc", &nodes), Wish::Console(1), "the last one is the dead one");
        assert_eq!(press(&mut view, "kkkkkc", &nodes), Wish::Console(2));
    }

    #[test]
    fn help_log_and_details_are_shown() {
        let (mut view, mut nodes) = (View::new(Column::Name), nodes());
        let details = screen(&mut view, &nodes, 130, 24);
        assert!(details.contains("p99 1.5 ms") && details.contains("core 1"), "{details}");
        assert_eq!(press(&mut view, "l", &nodes), Wish::None);
        assert!(screen(&mut view, &nodes, 130, 24).contains("has said nothing"));
        for number in 0..40 {
            nodes[0].log.push_back(serde_json::from_value(pane::tests::line(number)).unwrap());
        }
        let log = screen(&mut view, &nodes, 130, 24);
        assert!(log.contains("log of pi-1") && log.contains("line 39") && !log.contains("line 20 "), "{log}");
        for _ in 0..9 {
            view.press(KeyEvent::new(KeyCode::PageUp, KeyModifiers::NONE), &nodes);
        }
        let log = screen(&mut view, &nodes, 130, 24);
        assert!(log.contains("line 0 ") && !log.contains("line 39"), "{log}");
        view.press(KeyEvent::new(KeyCode::PageDown, KeyModifiers::NONE), &nodes);
        assert!(
            !screen(&mut view, &nodes, 130, 24).contains("line 0 "),
            "more pages up than there are were remembered"
        );
        press(&mut view, "h", &nodes);
        assert!(screen(&mut view, &nodes, 130, 24).contains("choose a node"));
        assert_eq!(press(&mut view, "q", &nodes), Wish::None, "the first key closes the help");
        assert_eq!(press(&mut view, "q", &nodes), Wish::End);
        assert_eq!(view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), &nodes), Wish::End);
    }

    #[test]
    fn any_size_of_screen_and_no_node_at_all_will_do() {
        let nodes = nodes();
        for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
            for nodes in [&nodes[..], &[]] {
                let mut view = View::new(Column::Cpu);
                press(&mut view, "jlc", nodes);
                screen(&mut view, nodes, width, height);
                press(&mut view, "h", nodes);
                screen(&mut view, nodes, width, height);
            }
        }
    }

    #[test]
    fn what_went_wrong_is_shown_until_the_next_key() {
        let (mut view, nodes) = (View::new(Column::Cpu), nodes());
        view.notify("the console can't be shown".into());
        assert!(screen(&mut view, &nodes, 130, 24).contains("can't be shown"));
        press(&mut view, "j", &nodes);
        assert!(!screen(&mut view, &nodes, 130, 24).contains("can't be shown"));
    }
}
