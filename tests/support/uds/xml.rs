//! Writes small XML documents. Everything is escaped; nothing is read.

use std::fmt::Write as _;

use quick_xml::escape::escape;

/// An element with attributes and either text or children.
#[derive(Clone, Debug, Default)]
pub(crate) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    text: String,
    children: Vec<Self>,
}

impl Element {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    pub(crate) fn with_text(name: &'static str, text: impl Into<String>) -> Self {
        Self {
            name,
            text: text.into(),
            ..Self::default()
        }
    }

    pub(crate) fn attribute(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    pub(crate) fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    pub(crate) fn text_child(self, name: &'static str, text: impl Into<String>) -> Self {
        self.child(Self::with_text(name, text))
    }

    pub(crate) fn children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children.extend(children);
        self
    }

    /// The whole document with its declaration.
    pub(crate) fn document(&self) -> String {
        let mut out = DECLARATION.to_owned();
        self.write(&mut out);
        out.push('\n');
        out
    }

    fn write(&self, out: &mut String) {
        write!(out, "<{}", self.name).expect("a String takes all");
        for (name, value) in &self.attributes {
            write!(out, " {name}=\"{}\"", escape(value.as_str())).expect("a String takes all");
        }
        if self.text.is_empty() && self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        out.push_str(&escape(self.text.as_str()));
        for child in &self.children {
            child.write(out);
        }
        write!(out, "</{}>", self.name).expect("a String takes all");
    }
}

pub(crate) const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_are_escaped() {
        let document = Element::new("a")
            .attribute("q", "\"<&>\"")
            .text_child("b", "1 < 2 & 3")
            .child(Element::new("c"))
            .document();

        let expected = "<a q=\"&quot;&lt;&amp;&gt;&quot;\"><b>1 &lt; 2 &amp; 3</b><c/></a>\n";
        assert_eq!(document, format!("{DECLARATION}{expected}"));
    }
}
