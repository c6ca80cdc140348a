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

    /// Has no key a value, now and for ever?
    pub fn is_void(&self) -> bool {
        self.values.is_empty() && !self.is_pushed()
    }

    /// Does a source bring one of the layers?
    pub fn is_pushed(&self) -> bool {
        self.layers.iter().any(|layer| layer.pushed.is_some())
    }

    /// Has no key a value?
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Keys whose values differ in another version.
    pub fn differences<'a>(&'a self, other: &'a Runtime) -> impl Iterator<Item = &'a str> {
        let here = self.iter().filter(|(key, value)| other.get(key) != Some(value));
        let there = other.iter().filter(|(key, _)| self.get(key).is_none());
        here.chain(there).map(|(key, _)| key)
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
