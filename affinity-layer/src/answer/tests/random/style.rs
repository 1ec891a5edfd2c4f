//! JSON and events, written in any way that means the same.

use serde_json::Value;

/// Choices of how to write, used up one by one and then again from the beginning.
pub(crate) struct Style {
    choices: Vec<u8>,
    next: usize,
}

impl Style {
    pub(crate) fn new(choices: Vec<u8>) -> Self {
        Self { choices, next: 0 }
    }

    fn of(&mut self, kinds: u8) -> u8 {
        self.next += 1;
        self.choices[self.next % self.choices.len()] % kinds
    }

    fn space(&mut self) -> &'static str {
        match self.of(8) {
            0 => " ",
            1 => "\t ",
            2 => "\r\n",
            3 => "\n ",
            _ => "",
        }
    }

    fn string(&mut self, text: &str) -> String {
        let mut written = String::from("\"");
        for unit in text.chars() {
            let mut units = [0; 2];
            match (unit, self.of(6)) {
                ('"' | '\\', 1..) => written.extend(['\\', unit]),
                ('\n', 1..) => written.push_str("\\n"),
                ('/', 1) => written.push_str("\\/"),
                (control, _) if control < ' ' => {
                    written.push_str(&format!("\\u{:04X}", u32::from(control)))
                }
                (_, 0) => {
                    for unit in unit.encode_utf16(&mut units) {
                        written.push_str(&format!("\\u{unit:04x}"));
                    }
                }
                _ => written.push(unit),
            }
        }
        written + "\""
    }

    pub(crate) fn json(&mut self, value: &Value) -> String {
        let inner = match value {
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.json(item)).collect();
                format!("[{}{}]", self.space(), items.join(","))
            }
            Value::Object(members) => {
                let members: Vec<_> = members
                    .iter()
                    .map(|(key, value)| {
                        let (space, key) = (self.space(), self.string(key));
                        format!("{space}{key}{}:{}", self.space(), self.json(value))
                    })
                    .collect();
                format!("{{{}{}}}", members.join(","), self.space())
            }
            other => other.to_string(),
        };
        format!("{}{inner}{}", self.space(), self.space())
    }

    /// An event, its data in one line or several, among fields and comments that mean nothing.
    pub(crate) fn event(&mut self, data: &str, last: bool) -> String {
        let end = ["\n", "\r\n", "\r"][usize::from(self.of(3))];
        let mut event = String::new();
        for line in data.lines() {
            match self.of(8) {
                0 => event.push_str(&format!(": data: {{}}{end}")),
                1 => event.push_str(&format!("event: message_delta{end}id: 1{end}")),
                2 => event.push_str(&format!("dataset: {{\"stop_reason\":\"stop\"}}{end}")),
                3 => event.push_str(&format!("data{end}")),
                _ => {}
            }
            let field = if self.of(2) == 0 { "data:" } else { "data: " };
            event.push_str(&format!("{field}{line}{end}"));
        }
        // A stream may break off before the line that ends its last event.
        event + if last && self.of(2) == 0 { "" } else { end }
    }
}
