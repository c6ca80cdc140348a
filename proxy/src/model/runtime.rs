//! Runtime values in their layers.

use super::pushed::Pushed;
use std::collections::HashMap;

/// Keys and their values as text.
pub type Values = HashMap<Box<str>, Box<str>, foldhash::fast::RandomState>;

/// A layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer {
    /// Its name.
    pub name: Box<str>,
    /// Its values.
    pub values: Values,
    /// Where they come from (RTDS); none: they stand in the bootstrap, or were read at the start.
    pub pushed: Option<Pushed>,
}

/// All layers, and what they come to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runtime {
    layers: Vec<Layer>,
    values: Values,
}

impl Runtime {
    /// Later layers win.
    pub fn new(layers: Vec<Layer>) -> Runtime {
        let all = layers.iter().flat_map(|layer| &layer.values);
        let values = all.map(|(key, value)| (key.clone(), value.clone())).collect();
        Runtime { layers, values }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|value| &**value)
    }

    /// Has no key a value?
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// How many keys have one?
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// All keys and their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (&**key, &**value))
    }

    /// The layers in order.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }
}
