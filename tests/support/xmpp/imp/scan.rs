//! Cuts a client's stream into its header, its elements and its end. For well-formed XML only.

/// What has come, and was not cut yet.
#[derive(Debug, Default)]
pub(super) struct Scan {
    text: String,
}

/// One piece of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// `<stream:stream ..>`
    Header,
    /// A whole element of the first level.
    Element(String),
    /// `</stream:stream>`
    End,
}

impl Scan {
    /// Takes what has come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.text.push_str(&String::from_utf8_lossy(bytes));
    }

    /// Whether everything was cut.
    pub(super) const fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The next whole piece.
    pub(super) fn next(&mut self) -> Option<Piece> {
        self.skip_space();
        if self.text.starts_with("<?") {
            let end = self.text.find("?>")? + 2;
            self.text.drain(..end);
            self.skip_space();
        }
        if self.text.starts_with("<stream:stream") {
            let end = tag_end(&self.text)?;
            self.text.drain(..end);
            return Some(Piece::Header);
        }
        if self.text.starts_with("</stream:stream") {
            return Some(Piece::End);
        }
        let end = element_end(&self.text)?;
        let element = self.text.drain(..end).collect();
        Some(Piece::Element(element))
    }

    fn skip_space(&mut self) {
        let space = self.text.len() - self.text.trim_start().len();
        self.text.drain(..space);
        if self.text.is_empty() {
            // Thousands of quiet streams must not keep what they once needed.
            self.text = String::new();
        }
    }
}

/// The value of an attribute of the first tag.
pub(super) fn attribute<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let tag = element.get(..tag_end(element)?)?;
    let at = tag.find(&format!(" {name}="))? + name.len() + 2;
    let rest = tag.get(at..)?;
    let quote = rest.chars().next()?;
    rest.get(1..)?.split(quote).next()
}

/// The text between the first tag and its end.
pub(super) fn content(element: &str) -> Option<&str> {
    let start = tag_end(element)?;
    let end = element.rfind("</")?;
    element.get(start..end)
}

/// Where the tag ends with which the text begins.
fn tag_end(text: &str) -> Option<usize> {
    let mut quote = None;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            (None, '>') => return Some(index + 1),
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    None
}

/// Where the element ends with which the text begins.
fn element_end(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_u32, 0);
    loop {
        let rest = text.get(at..)?;
        let tag = rest.find('<')?;
        let rest = rest.get(tag..)?;
        let length = tag_end(rest)?;
        let is_closing = rest.starts_with("</");
        let is_empty = rest.get(..length)?.ends_with("/>");
        at += tag + length;
        if is_closing {
            depth = depth.checked_sub(1)?;
        } else if !is_empty {
            depth += 1;
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_whole_however_they_arrive() {
        let text = "<?xml version='1.0'?><stream:stream to='a>b'> <iq id=\"1\"><a><b/></a></iq>\n<r/></stream:stream>";
        let mut scan = Scan::default();
        let mut pieces = Vec::new();

        for byte in text.as_bytes() {
            scan.push(&[*byte]);
            pieces.extend(scan.next());
        }

        let element = |text: &str| Piece::Element(text.to_owned());
        assert_eq!(pieces.first(), Some(&Piece::Header));
        assert_eq!(
            pieces.get(1),
            Some(&element("<iq id=\"1\"><a><b/></a></iq>"))
        );
        assert_eq!(pieces.get(2), Some(&element("<r/>")));
        assert_eq!(pieces.last(), Some(&Piece::End));
    }

    #[test]
    fn attributes_and_contents_are_found() {
        let element = "<auth xmlns='x' mechanism=\"PLAIN\">AGE=</auth>";

        assert_eq!(attribute(element, "mechanism"), Some("PLAIN"));
        assert_eq!(attribute(element, "name"), None);
        assert_eq!(content(element), Some("AGE="));
    }
}
