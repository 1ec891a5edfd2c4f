//! What the command line's programs print, plain in a pipe and with colour on a terminal.
//!
//! By hand: it is one condition and one escape sequence. `anstream`, which clap brings, takes colours
//! out of what is written to a stream; here, tests write to streams of their own.

use std::io::{self, IsTerminal, Write};

/// How a piece of text looks on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A heading.
    Bold,
    /// Of less weight.
    Dim,
    /// Good.
    Green,
    /// Not good.
    Red,
    /// Worth a look.
    Yellow,
}

/// An output and an error stream.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    color: bool,
    live: bool,
    /// Whether a progress text is where the next line goes.
    progress: bool,
}

impl Terminal {
    /// The process's own streams: colour when stdout is a terminal and `NO_COLOR` is unset or
    /// empty, progress when stdout is a terminal.
    #[must_use]
    pub fn stdio() -> Self {
        let live = io::stdout().is_terminal();
        let color = live && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            color,
            live,
            progress: false,
        }
    }

    /// Two writers without colour and progress.
    #[must_use]
    pub fn plain(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self { out: Box::new(out), err: Box::new(err), color: false, live: false, progress: false }
    }

    /// `text` in `style` where there is colour, else as it is.
    #[must_use]
    pub fn paint(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Red => 31,
            Style::Green => 32,
            Style::Yellow => 33,
        };
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Prints a line, over a progress text if there is one.
    ///
    /// # Errors
    ///
    /// Those of the output stream, for example when the reader of a pipe has gone.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    /// Shows a progress text until the next line, on a terminal only.
    ///
    /// # Errors
    ///
    /// Those of the output stream.
    pub fn progress(&mut self, text: &str) -> io::Result<()> {
        if self.live {
            let text = self.paint(Style::Dim, text);
            write!(self.out, "\r\x1b[K{text}")?;
            self.out.flush()?;
            self.progress = true;
        }
        Ok(())
    }

    /// Prints a line on the error stream.
    ///
    /// # Errors
    ///
    /// Those of the streams.
    pub fn error(&mut self, text: &str) -> io::Result<()> {
        self.clear()?;
        writeln!(self.err, "{text}")
    }

    /// Whether somebody sits at the output.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Leaves a terminal with an empty line for what comes next, also in the middle of a progress text and
    /// after the `^C` that the terminal shows.
    ///
    /// # Errors
    ///
    /// Those of the output stream.
    pub fn end(&mut self) -> io::Result<()> {
        self.progress |= self.live;
        self.clear()
    }

    fn clear(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.progress) {
            write!(self.out, "\r\x1b[K")?;
            self.out.flush()?;
        }
        Ok(())
    }
}

/// Text from outside without control characters, line feeds apart, so that it cannot steer the
/// terminal.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(clean("a\x1b[2Jb\r\n\u{9b}c"), "a[2Jb\nc");
    }

    #[test]
    fn a_terminal_is_left_with_an_empty_line() {
        let out = crate::lab::testing::Captured::default();
        let mut terminal = Terminal { live: true, ..Terminal::plain(out.clone(), io::sink()) };
        terminal.progress("turn 3 …").unwrap();
        terminal.end().unwrap();
        assert_eq!(out.text(), "\r\x1b[Kturn 3 …\r\x1b[K");
        let out = crate::lab::testing::Captured::default();
        Terminal::plain(out.clone(), io::sink()).end().unwrap();
        assert_eq!(out.text(), "", "a pipe is left alone");
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        let mut terminal = Terminal::plain(io::sink(), io::sink());
        assert_eq!(terminal.paint(Style::Red, "x"), "x");
        terminal.color = true;
        assert_eq!(terminal.paint(Style::Red, "x"), "\x1b[31mx\x1b[0m");
    }
}
