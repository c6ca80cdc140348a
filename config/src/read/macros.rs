//! The two declarations that kinds are written in.

/// Declares structs with named YAML fields and their readers. Each struct also gets `span`, the place of its
/// mapping. `ignores LIST;` names fields that exist but mean nothing here; `check FN;` calls `FN(&value,
/// &mut Reader)` after a value was read.
macro_rules! fields {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( $(#[$field_meta:meta])* $field:ident : $type:ty = $json:literal, )*
        }
        $(ignores $ignored:expr;)?
        $(check $check:path;)?
    )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            /// Where the mapping stands.
            pub span: $crate::yaml::Span,
            $( $(#[$field_meta])* pub $field: $type, )*
        }

        impl $crate::read::Field for $name {
            fn read(node: &$crate::yaml::Node, reader: &mut $crate::read::Reader<'_>) -> Option<Self> {
                const NAMES: &[&str] = &[$($json),*];
                #[allow(unused_mut, unused_assignments)]
                let mut ignored: &'static [&'static str] = &[];
                $( ignored = $ignored; )?
                let object = $crate::read::Object::open(node, NAMES, ignored, reader)?;
                $( let $field = object.field::<$type>($json, reader); )*
                object.close(reader);
                let value = Self { span: node.span, $( $field: $field?, )* };
                $( $check(&value, reader); )?
                Some(value)
            }
        }
    )+};
}

/// Declares enumerations by the words that stand for their values in YAML.
macro_rules! choices {
    ($(
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident = $word:literal, )+
        }
    )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant, )+
        }

        impl $name {
            /// The word that stands for it in YAML.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $( Self::$variant => $word, )+
                }
            }
        }

        impl $crate::read::Field for $name {
            fn read(node: &$crate::yaml::Node, reader: &mut $crate::read::Reader<'_>) -> Option<Self> {
                $crate::read::choice(node, &[$(($word, Self::$variant)),+], reader)
            }
        }
    )+};
}
