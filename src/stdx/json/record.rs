//! Structs and enums as tables: what the reader asks of them instead of code of their own.
//!
//! ```text
//! records! {
//! #[derive(Clone, Debug, Default, PartialEq)]
//! #[serde(rename_all = "PascalCase")]
//! pub struct Disk {
//!     #[serde(rename = "ID")]
//!     pub id: String,
//!     pub size: Option<u64>,
//!     pub parts: List<Part>,
//! }
//! }
//! ```
//!
//! The struct stays as it is written, `json::decode` reads it, and serde's `Serialize` is derived.
//! Any number of structs may stand in one [`records!`]; enums stand in a [`choices!`]. Types in a
//! list, a map or an option need `Default`. Of serde's attributes three are understood, and mean
//! for reading what they mean for printing: `skip`, `rename = "…"` and, for structs, `rename_all =
//! "PascalCase"`, which a new name of the struct (as errors call it) stands behind. They are the
//! first words of their attribute. A field that is missing in the JSON keeps the value of the
//! struct's `Default`.

#![deny(clippy::panic, clippy::expect_used)]

use super::decode::Decode;

/// A struct, or the chosen variant of an enum.
pub trait Record {
    fn shape(&self) -> Shape;

    /// The field with this place in the shape.
    fn field(&mut self, index: usize) -> Option<&mut dyn Decode>;

    /// Back to the zero value.
    fn reset(&mut self);
}

/// An enum.
pub trait Choice: Record {
    fn tags(&self) -> Names;

    /// Becomes the variant with this place among the tags, its parts zero.
    fn choose(&mut self, index: usize);

    /// The value of a variant that has one part without a name.
    fn whole(&mut self) -> Option<&mut dyn Decode>;
}

/// What a struct is called and made of.
#[derive(Clone, Copy)]
pub struct Shape {
    /// As errors call it.
    pub name: &'static str,
    pub fields: Names,
}

/// Names in the order of their fields, each behind a byte that holds its length. A field that is
/// not read has an empty name.
#[derive(Clone, Copy)]
pub struct Names(pub &'static [u8]);

/// Where a name is looked for first.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    index: usize,
    offset: usize,
}

impl Names {
    /// The names from a place on, with the places behind them.
    fn from(self, mut place: Place) -> impl Iterator<Item = (&'static [u8], usize, Place)> {
        std::iter::from_fn(move || {
            let (length, rest) = self.0.get(place.offset..)?.split_first()?;
            let length = usize::from(*length);
            let name = rest.get(..length)?;
            let index = place.index;
            place = Place { index: index + 1, offset: place.offset + 1 + length };
            Some((name, index, place))
        })
    }

    /// Finds the field that a key names, whatever its case; the same case counts more. With the
    /// place behind it: objects are printed in the order of their fields, so the next key most
    /// likely names what follows.
    pub(super) fn find(self, key: &str, from: Place) -> Option<(usize, Place)> {
        let key = key.as_bytes();
        if key.is_empty() {
            return None;
        }
        let exact = self.exact(key, from).or_else(|| self.exact(key, Place::default()));
        exact.or_else(|| {
            let mut all = self.from(Place::default());
            let found = all.find(|(name, ..)| name.eq_ignore_ascii_case(key));
            found.map(|(_, index, place)| (index, place))
        })
    }

    /// Finds the field of just this name, from a place on. A plain loop: this is asked for every
    /// key of every object that is read.
    fn exact(self, key: &[u8], from: Place) -> Option<(usize, Place)> {
        let mut rest = self.0.get(from.offset..)?;
        let mut index = from.index;
        while let Some((length, names)) = rest.split_first() {
            let (name, behind) = names.split_at_checked(usize::from(*length))?;
            index += 1;
            rest = behind;
            if name.len() == key.len() && name == key {
                let offset = self.0.len() - rest.len();
                return Some((index - 1, Place { index, offset }));
            }
        }
        None
    }

    /// The name of a field.
    pub(super) fn name(self, index: usize) -> &'static str {
        self.iter().nth(index).unwrap_or_default()
    }

    /// All names.
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        self.from(Place::default()).map(|(name, ..)| std::str::from_utf8(name).unwrap_or_default())
    }
}

/// One of the parts of a variant.
pub(crate) fn pick<const N: usize>(
    parts: [&mut dyn Decode; N],
    index: usize,
) -> Option<&mut dyn Decode> {
    parts.into_iter().nth(index)
}

/// The bytes of [`Names`] and how many they are. In `list` each name ends in a space; one behind
/// `=` stays as it is, others are turned to `PascalCase`.
#[expect(clippy::indexing_slicing, reason = "runs while compiling")]
pub(crate) const fn pack<const N: usize>(list: &str) -> ([u8; N], usize) {
    let bytes = list.as_bytes();
    let mut out = [0; N];
    let (mut at, mut end) = (0, 0);
    while at < N {
        let start = end;
        end += 1;
        let kept = bytes[at] == b'=';
        let mut upper = !kept;
        if kept {
            at += 1;
        }
        while bytes[at] != b' ' {
            if bytes[at] == b'_' && !kept {
                upper = true;
            } else {
                out[end] = if upper { bytes[at].to_ascii_uppercase() } else { bytes[at] };
                end += 1;
                upper = false;
            }
            at += 1;
        }
        at += 1;
        out[start] = (end - start - 1) as u8;
    }
    (out, end)
}

/// [`Names`] of a list for [`pack`].
macro_rules! names {
    ($list:expr) => {{
        const LIST: &str = $list;
        const PACKED: ([u8; LIST.len()], usize) = $crate::stdx::json::record::pack(LIST);
        const NAMES: &[u8] = PACKED.0.split_at(PACKED.1).0;
        $crate::stdx::json::record::Names(NAMES)
    }};
}

/// A field's name for [`pack`], by the attributes of its struct and its own.
macro_rules! field_name {
    ($struct:tt [[serde(skip)] $($more:tt)*] $field:ident) => { "=" };
    ($struct:tt [[serde(rename = $name:literal $($rest:tt)*)] $($more:tt)*] $field:ident) => {
        concat!("=", $name)
    };
    ($struct:tt [$other:tt $($more:tt)*] $field:ident) => {
        $crate::stdx::json::record::field_name!($struct [$($more)*] $field)
    };
    ([[serde(rename_all = "PascalCase" $($rest:tt)*)] $($more:tt)*] [] $field:ident) => {
        stringify!($field)
    };
    ([$other:tt $($more:tt)*] [] $field:ident) => {
        $crate::stdx::json::record::field_name!([$($more)*] [] $field)
    };
    ([] [] $field:ident) => { concat!("=", stringify!($field)) };
}

/// A struct's name, by its attributes.
macro_rules! struct_name {
    ([[serde(rename_all = "PascalCase", rename = $new:literal)] $($more:tt)*] $name:ident) => {
        $new
    };
    ([$other:tt $($more:tt)*] $name:ident) => {
        $crate::stdx::json::record::struct_name!([$($more)*] $name)
    };
    ([] $name:ident) => { stringify!($name) };
}

/// Structs that can be read; see the head of this file.
macro_rules! records {
    ($(
        $(#[$($attr:tt)*])*
        $vis:vis struct $name:ident { $($body:tt)* }
    )*) => {$(
        #[derive(serde::Serialize)]
        $(#[$($attr)*])*
        $vis struct $name { $($body)* }
        $crate::stdx::json::record::table!([$([$($attr)*])*] $name $($body)*);
    )*};
}

/// The table of one struct.
macro_rules! table {
    (
        $struct:tt $name:ident
        $($(#[$($attr:tt)*])* $vis:vis $field:ident: $type:ty),* $(,)?
    ) => {
        impl $crate::stdx::json::Decode for $name {
            fn decode(
                &mut self,
                reader: &mut $crate::stdx::json::Reader<'_>,
            ) -> $crate::stdx::json::Step {
                reader.record(self)
            }
        }

        impl $crate::stdx::json::Record for $name {
            fn shape(&self) -> $crate::stdx::json::record::Shape {
                $crate::stdx::json::record::Shape {
                    name: $crate::stdx::json::record::struct_name!($struct $name),
                    fields: $crate::stdx::json::record::names!(concat!($(
                        $crate::stdx::json::record::field_name!(
                            $struct [$([$($attr)*])*] $field
                        ),
                        " "
                    ),*)),
                }
            }

            fn field(&mut self, index: usize) -> Option<&mut dyn $crate::stdx::json::Decode> {
                #[expect(non_camel_case_types, reason = "named after the fields")]
                enum At { $($field),* }
                match index {
                    $(n if n == At::$field as usize => Some(&mut self.$field),)*
                    _ => None,
                }
            }

            fn reset(&mut self) {
                *self = Self::default();
            }
        }
    };
}

/// An enum that can be read, printed by serde as text or as a tag and an object.
macro_rules! choices {
    (
        $(#[$($attr:tt)*])*
        $vis:vis enum $name:ident {$(
            $(#[$($variant_attr:tt)*])*
            $variant:ident
            $({ $($(#[$($field_attr:tt)*])* $field:ident: $type:ty),* $(,)? })?
            $(($inner:ty))?
        ),* $(,)?}
    ) => {
        #[derive(serde::Serialize)]
        $(#[$($attr)*])*
        $vis enum $name {$(
            $(#[$($variant_attr)*])*
            $variant
            $({ $($(#[$($field_attr)*])* $field: $type),* })?
            $(($inner))?
        ),*}

        impl $crate::stdx::json::Decode for $name {
            fn decode(
                &mut self,
                reader: &mut $crate::stdx::json::Reader<'_>,
            ) -> $crate::stdx::json::Step {
                reader.choice(self)
            }
        }

        impl $name {
            /// A variant with its parts zero.
            fn zero(index: usize) -> Self {
                enum At { $($variant),* }
                match index {
                    $(n if n == At::$variant as usize => Self::$variant {
                        $($($field: Default::default(),)*)?
                        $(0: <$inner>::default(),)?
                    },)*
                    _ => Self::zero(0),
                }
            }
        }

        /// What reading begins with.
        impl Default for $name {
            fn default() -> Self {
                Self::zero(0)
            }
        }

        impl $crate::stdx::json::Record for $name {
            fn shape(&self) -> $crate::stdx::json::record::Shape {
                let fields = match self {
                    $(Self::$variant { .. } => $crate::stdx::json::record::names!(
                        concat!($($("=", stringify!($field), " "),*)?)
                    ),)*
                };
                $crate::stdx::json::record::Shape { name: "", fields }
            }

            fn field(&mut self, index: usize) -> Option<&mut dyn $crate::stdx::json::Decode> {
                match self {
                    $(Self::$variant { $($($field,)*)? .. } => {
                        $crate::stdx::json::record::pick([$($($field),*)?], index)
                    })*
                }
            }

            fn reset(&mut self) {
                *self = Self::default();
            }
        }

        impl $crate::stdx::json::record::Choice for $name {
            fn tags(&self) -> $crate::stdx::json::record::Names {
                $crate::stdx::json::record::names!(concat!($("=", stringify!($variant), " "),*))
            }

            fn choose(&mut self, index: usize) {
                *self = Self::zero(index);
            }

            fn whole(&mut self) -> Option<&mut dyn $crate::stdx::json::Decode> {
                match self {
                    $($(Self::$variant(inner) => {
                        let inner: &mut $inner = inner;
                        Some(inner)
                    })?)*
                    _ => None,
                }
            }
        }
    };
}

pub(crate) use {choices, field_name, names, records, struct_name, table};
