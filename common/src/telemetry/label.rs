//! Label values as closed enums, so that no metric grows with what peers send, and so that the word in the log is the
//! word in the metric.

/// A closed set of values of one label. Made by [`crate::label!`].
pub trait Label: Copy + Send + Sync + 'static {
    /// The name of the label.
    const NAME: &'static str;
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// The value as metrics and log lines have it.
    fn as_str(self) -> &'static str;
    /// Its place in [`Label::ALL`].
    fn index(self) -> usize;
}

/// Defines an enum as the closed set of values of a label:
///
/// ```
/// common::label! {
///     /// Which way bytes went.
///     pub enum Direction as "direction" {
///         /// To the client.
///         Down = "down",
///         /// From the client.
///         Up = "up",
///     }
/// }
/// # fn main() {
/// assert_eq!(Direction::Up.to_string(), "up");
/// # }
/// ```
#[macro_export]
macro_rules! label {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident as $label:literal {
            $($(#[$variant_attribute:meta])* $variant:ident = $text:literal,)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $visibility enum $name {
            $($(#[$variant_attribute])* $variant,)+
        }

        impl $crate::telemetry::Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str($crate::telemetry::Label::as_str(*self))
            }
        }
    };
}
