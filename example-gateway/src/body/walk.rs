//! A walk through JSON that was checked: where the children of a list or an object are.
//!
//! Nothing is built for what is passed over, so a body of many small values costs no memory. What is not
//! there is found as empty, and nothing here can fail.

use std::ops::Range;

/// An element of a list, or a member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Child<'a> {
    /// The key of a member as it is written, without its quotes; empty for an element.
    pub(super) key: &'a [u8],
    /// The whole: of a member its key, colon and value.
    pub(super) whole: Range<usize>,
    pub(super) value: Range<usize>,
}

/// The children of the list or object at `value` in `text`; none if it is neither.
pub(super) fn children<'a>(text: &'a [u8], value: &Range<usize>) -> Children<'a> {
    let inner = match text.get(value.start) {
        Some(b'[') => Some(false),
        Some(b'{') => Some(true),
        _ => None,
    };
    let at = inner.map_or(text.len(), |_| value.start + 1);
    Children { text, at, is_object: inner == Some(true) }
}

/// The value of the member `key` of the object at `value`.
pub(super) fn member(text: &[u8], value: &Range<usize>, key: &str) -> Option<Range<usize>> {
    let mut members = children(text, value).filter(|child| child.key == key.as_bytes());
    members.next().map(|child| child.value)
}

/// The text of the string at `value`, as it is written.
pub(super) fn string<'a>(text: &'a [u8], value: &Range<usize>) -> Option<&'a [u8]> {
    text.get(value.clone())?.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// The text of the member `key`, a string.
pub(super) fn string_member<'a>(
    text: &'a [u8],
    value: &Range<usize>,
    key: &str,
) -> Option<&'a [u8]> {
    string(text, &member(text, value, key)?)
}

/// The children of one value, in their order.
#[derive(Clone, Debug)]
pub(super) struct Children<'a> {
    text: &'a [u8],
    at: usize,
    is_object: bool,
}

impl<'a> Children<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// Passes over white space and the marks between children.
    fn gap(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r' | b',' | b':') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes over one value, and returns where it is.
    fn value(&mut self) -> Range<usize> {
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => self.string(),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b'}' | b']' | b',' | b' ' | b'\n' | b'\t' | b'\r' if depth == 0 => break,
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            if depth == 0 {
                break;
            }
        }
        start..self.at
    }

    /// Passes over a string.
    fn string(&mut self) {
        self.at += 1;
        while let Some(byte) = self.peek() {
            self.at += if byte == b'\\' { 2 } else { 1 };
            if byte == b'"' {
                break;
            }
        }
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Child<'a>;

    fn next(&mut self) -> Option<Child<'a>> {
        self.gap();
        if let None | Some(b'}' | b']') = self.peek() {
            self.at = self.text.len();
            return None;
        }
        let first = self.value();
        if !self.is_object {
            return Some(Child { key: &[], whole: first.clone(), value: first });
        }
        self.gap();
        let value = self.value();
        let key = string(self.text, &first).unwrap_or_default();
        Some(Child { key, whole: first.start..value.end, value })
    }
}

/// What is cut out of one list or object, with the commas that go with it.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    /// The end of the last child that stays.
    kept: Option<usize>,
    /// The children to be cut since then.
    run: Option<Range<usize>>,
}

impl Cutter {
    /// The next child stays.
    pub(super) fn keep(&mut self, child: &Range<usize>, cuts: &mut Vec<Range<usize>>) {
        if let Some(run) = self.run.take() {
            // After a child that stays the comma before goes, else the one behind.
            cuts.push(self.kept.map_or(run.start..child.start, |kept| kept..run.end));
        }
        self.kept = Some(child.end);
    }

    /// The next child goes.
    pub(super) fn cut(&mut self, child: &Range<usize>) {
        let start = self.run.as_ref().map_or(child.start, |run| run.start);
        self.run = Some(start..child.end);
    }

    /// After the last child. Returns whether none stays.
    pub(super) fn end(self, cuts: &mut Vec<Range<usize>>) -> bool {
        if let Some(run) = self.run {
            cuts.push(self.kept.unwrap_or(run.start)..run.end);
        }
        self.kept.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_as_they_are_written() {
        let text = br#" { "a" : [1 , "x\"]}," ,{}], "b":{"c":null},"\u0064":-1.5e3 }"#;
        let whole = 1..text.len();
        let shown = |range: &Range<usize>| std::str::from_utf8(&text[range.clone()]).unwrap();
        let members: Vec<_> = children(text, &whole).collect();
        let values: Vec<_> = members.iter().map(|child| shown(&child.value)).collect();
        assert_eq!(values, [r#"[1 , "x\"]}," ,{}]"#, r#"{"c":null}"#, "-1.5e3"]);
        assert_eq!(shown(&members[1].whole), r#""b":{"c":null}"#);
        assert_eq!(members[2].key, br"\u0064");
        let elements = children(text, &members[0].value);
        let elements: Vec<_> = elements.map(|child| shown(&child.value)).collect();
        assert_eq!(elements, ["1", r#""x\"]},""#, "{}"]);
        assert_eq!(children(text, &members[2].value).count(), 0);
        for empty in ["[]", "{}", "[ ]", "{\n}", "\"\"", ""] {
            assert_eq!(children(empty.as_bytes(), &(0..empty.len())).count(), 0, "{empty}");
        }
    }

    #[test]
    fn whatever_is_cut_the_rest_is_a_list() {
        let text = "[ 0 , 1,2 ,3 ]";
        for kept in 0..16_usize {
            let (mut cuts, mut cutter) = (Vec::new(), Cutter::default());
            for (child, place) in children(text.as_bytes(), &(0..text.len())).zip(0..) {
                match kept >> place & 1 {
                    1 => cutter.keep(&child.whole, &mut cuts),
                    _ => cutter.cut(&child.whole),
                }
            }
            assert_eq!(cutter.end(&mut cuts), kept == 0);
            let mut left = text.to_owned();
            cuts.iter().rev().for_each(|cut| left.replace_range(cut.clone(), ""));
            let expected: Vec<usize> = (0..4).filter(|place| kept >> place & 1 == 1).collect();
            let left: Vec<usize> = serde_json::from_str(&left).unwrap();
            assert_eq!(left, expected);
        }
    }
}
